#!/bin/bash
#
# The one entry point of the project: what a person, a CI machine and a packager
# call. It installs what is missing, then hands over to make, to the test harness
# or to the demo; nothing else in the tree installs anything.
#
# Installing is the delicate part. Debian's packages start and enable the services
# that they bring, and a machine that only wanted to try this project must not find
# an nginx on port 80 afterwards. So service starts are denied while apt runs, and
# what the packages newly enabled is disabled again; what was there before is given
# back as it was. The notes for that lie in $NOTES, on disk, so that a run which was
# killed is cleaned up after by the next one.

set -euo pipefail
export LC_ALL=C.UTF-8

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
BUILD=$ROOT/build
NOTES=/var/lib/study-tracker-deps
POLICY=/usr/sbin/policy-rc.d
CLUSTER_CONF=/etc/postgresql-common/createcluster.conf
NGINX_MODULES=/etc/nginx/modules-enabled

# One line a group: the verbs that need it | the packages | why.
DEPS='
build | gcc libc6-dev make pkg-config                | compile the module and the worker
build | nginx-dev                                    | headers of the nginx found, to build the module against
build | libhiredis-dev                               | Redis replies: module and worker
build | libssl-dev                                   | HMAC of the signature
build | libpq-dev                                    | PostgreSQL from the worker
build | libcurl4-openssl-dev                         | requests to Slack and to the model
build | libyajl-dev                                  | JSON
build | libinih-dev                                  | study-worker.conf
build | libmicrohttpd-dev                            | metrics and health of the worker
deb   | dpkg-dev debhelper                           | Debian packages
demo  | nginx redis-server postgresql tzdata         | the real parts, started privately
demo  | ca-certificates                              | HTTPS, with --real-slack and --real-openai
demo  | perl libdbi-perl libdbd-pg-perl libredis-perl | driver of the demo and of the tests
demo  | libmojolicious-perl libev-perl libhttp-parser-xs-perl libcpanel-json-xs-perl | stand-ins for Slack and OpenAI
test  | libcmocka-dev                                | unit tests
test  | libdatetime-perl libdatetime-timezone-perl   | what cron lines are checked against
test  | openssl curl procps                          | certificates for TLS, HTTP/2 requests, looking at processes
test  | libnginx-mod-nchan libnginx-mod-http-lua libnginx-mod-http-echo | modules that ours has to get along with
test  | clang libclang-rt-dev valgrind               | fuzzing; errors of memory
test  | libtest-base-perl libtext-diff-perl libtest-longstring-perl liblist-moreutils-perl libwww-perl libio-socket-ssl-perl libipc-run-perl | what Test::Nginx needs
'

say()  { printf '%s\n' "$*"; }
warn() { printf 'build.sh: %s\n' "$*" >&2; }
die()  { warn "$*"; exit 1; }


# --- packages ------------------------------------------------------------------

# The packages of the given groups that are not installed, one a line.
missing_packages()
{
    local groups=" $* " group names why have name

    have=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2>/dev/null | sed -n 's/^ii  *//p')

    while IFS='|' read -r group names why; do
        group=${group// /}
        [[ -n $group && $groups == *" $group "* ]] || continue
        for name in $names; do
            # With one's own nginx tree, Debian's headers are not needed.
            [[ $name == nginx-dev && -n ${NGINX_SRC:-} ]] && continue
            grep -qxF -- "$name" <<<"$have" || say "$name"
        done
    done <<<"$DEPS"
}

explain_packages()
{
    local group names why name shown

    while IFS='|' read -r group names why; do
        shown=
        for name in $names; do
            [[ " $* " == *" $name "* ]] && shown+=" $name"
        done
        [[ -z $shown ]] || say "  ${why# }:$shown"
    done <<<"$DEPS"
}

# Installs what the given groups lack; quick when nothing is missing.
need()
{
    local -a want

    command -v dpkg-query >/dev/null ||
        die "this is not a Debian system: install the packages listed in build.sh by hand"

    mapfile -t want < <(missing_packages "$@")
    if (( ${#want[@]} )); then
        say "Missing packages:"
        explain_packages "${want[@]}"
        as_root "${want[@]}"
        mapfile -t want < <(missing_packages "$@")
        (( ${#want[@]} == 0 )) || die "still missing after the installation: ${want[*]}"
    fi

    if [[ " $* " == *" test "* ]]; then
        need_test_nginx
    fi
}

# Runs the installation as root: ourselves, or this script again through sudo.
as_root()
{
    if (( EUID == 0 )); then
        bash "$ROOT/build.sh" install-as-root "$@"
    elif command -v sudo >/dev/null; then
        sudo -- bash "$ROOT/build.sh" install-as-root "$@"
    else
        die "installing needs root, and there is no sudo. As root: apt-get install $*"
    fi
}

# Every unit that starts at boot and every module that nginx loads, as the links that say so.
enabled_links()
{
    {
        find /etc/systemd/system /etc/systemd/user /etc/rc[2-5S].d "$NGINX_MODULES" -type l \
            \( -path '*.wants/*' -o -path '*.requires/*' -o -path '/etc/systemd/*/*.service' \
               -o -path '/etc/rc?.d/S*' -o -path "$NGINX_MODULES/*" \) 2>/dev/null ||
            true        # not every machine has every directory
    } | sort
}

# Writes down what the installation may touch, then denies service starts.
hold_services()
{
    [[ ! -e $NOTES ]] || give_back_services

    rm -rf "$NOTES.new"
    mkdir "$NOTES.new"
    enabled_links > "$NOTES.new/enabled"
    if [[ -e $POLICY || -L $POLICY ]]; then
        cp -a "$POLICY" "$NOTES.new/policy-rc.d"
    fi
    mv -T "$NOTES.new" "$NOTES"

    printf '#!/bin/sh\n# Study Tracker: build.sh is installing packages.\nexit 101\n' > "$NOTES/deny"
    chmod 755 "$NOTES/deny"
    cp -a --remove-destination "$NOTES/deny" "$POLICY"
}

# The opposite: safe to call at any point after hold_services began, and twice.
give_back_services()
{
    local link unit

    rm -rf "$NOTES.new"
    [[ -d $NOTES ]] || return 0

    if [[ -e $NOTES/createcluster.conf && -d ${CLUSTER_CONF%/*} ]]; then
        cp -a --remove-destination "$NOTES/createcluster.conf" "$CLUSTER_CONF"
    fi

    comm -13 "$NOTES/enabled" <(enabled_links) | while read -r link; do
        unit=${link##*/}
        case $link in
        /etc/rc?.d/*)
            unit=${unit#S[0-9][0-9]}
            update-rc.d "$unit" disable >/dev/null 2>&1 || true
            ;;
        "$NGINX_MODULES"/*)
            rm -f "$link"
            ;;
        /etc/systemd/user/*)
            deb-systemd-helper --user disable "$unit" >/dev/null 2>&1 || true
            rm -f "$link"
            ;;
        *)
            deb-systemd-helper disable "$unit" >/dev/null 2>&1 || true
            rm -f "$link"
            ;;
        esac
        say "left disabled: $unit"
    done | sort -u

    if [[ -e $NOTES/policy-rc.d || -L $NOTES/policy-rc.d ]]; then
        cp -a --remove-destination "$NOTES/policy-rc.d" "$POLICY"
    elif [[ -e $NOTES/deny ]] && cmp -s "$NOTES/deny" "$POLICY"; then
        rm -f "$POLICY"
    fi
    rm -rf "$NOTES"

    if [[ -d /run/systemd/system ]]; then
        systemctl daemon-reload || true
    fi
}

apt()
{
    # needrestart would restart services by itself; apt must not ask anything.
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l \
        apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# The part that runs as root. A signal waits for apt to end (bash runs a trap only
# between two commands), so the services are never given back under apt's feet.
install_as_root()
{
    local -a first=()

    (( EUID == 0 )) || die "install-as-root wants root"
    exec 9> /run/study-tracker-deps.lock
    flock -w 600 9 || die "another build.sh has been installing for ten minutes"

    trap 'give_back_services' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    hold_services

    apt update || warn "apt-get update failed for a source; trying with the lists there are"

    # postgresql makes a cluster of its own as it is installed, one that would start
    # at boot. postgresql-common, which reads this setting, has to come before.
    if [[ " $* " == *" postgresql "* ]]; then
        first=(postgresql-common)
        apt install --no-install-recommends "${first[@]}"
        [[ ! -e $CLUSTER_CONF ]] || cp -a "$CLUSTER_CONF" "$NOTES/createcluster.conf"
        say "create_main_cluster = false" >> "$CLUSTER_CONF"
    fi

    if (( $# )); then
        apt install --no-install-recommends "$@"
    fi
}


# --- Test::Nginx -----------------------------------------------------------------

# Debian packages it from a suite newer than 12 only. It is pure Perl, so the newer
# suite's package, checked by apt like any other, is unpacked under build/.
need_test_nginx()
{
    local dir=$BUILD/test-nginx

    perl -MTest::Nginx::Socket -e 1 2>/dev/null && return 0
    [[ ! -e $dir/usr/share/perl5/Test/Nginx/Socket.pm ]] || return 0

    say "Missing: Test::Nginx (the module's tests), into build/test-nginx"
    mkdir -p "$BUILD"

    fetch_test_nginx "$dir" && return 0

    if command -v cpanm >/dev/null; then
        say "No package found; asking CPAN"
        cpanm --quiet --notest --local-lib-contained "$BUILD/cpan" Test::Nginx &&
            mkdir -p "$dir/usr/share" &&
            ln -sfn "$BUILD/cpan/lib/perl5" "$dir/usr/share/perl5" && return 0
    fi

    die "Test::Nginx is in no suite of this machine's mirror and cpanm is missing or failed:" \
        "install libtest-nginx-perl, or cpanminus and run again"
}

debian_mirror()
{
    # shellcheck disable=SC2016  # apt's own variables
    apt-get indextargets --format '$(REPO_URI)|$(SOURCESENTRY)' 'Identifier: Packages' \
        'Origin: Debian' 'Label: Debian' 'Component: main' 2>/dev/null
}

# Packages of another suite of this machine's mirror, downloaded into DIR and checked by
# apt like any other (with the key that the machine trusts for that mirror), installed
# nowhere. A mirror may be a snapshot, whose lists are past their date: they are taken all
# the same, for nothing of them touches the system. fetch_packages SUITE DIR PACKAGE...
fetch_packages()
{
    local suite=$1 dir=$2 uri entry key
    local -a opts
    shift 2

    if [[ -z $(debian_mirror) ]]; then
        as_root || true        # no package, only the lists
    fi
    IFS='|' read -r uri entry < <(debian_mirror) || return 1
    key=$(sed -n -e 's/^[Ss]igned-[Bb]y: *\(\/[^ ]*\).*/\1/p' \
                 -e 's/.*\[[^]]*signed-by=\([^] ]*\).*/\1/p' "${entry%:*}" | head -n 1)

    rm -rf "$dir"
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    say "deb ${key:+[signed-by=$key] }$uri $suite main" > "$dir/sources.list"

    opts=(-q -o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=-
          -o "Dir::State::lists=$dir/lists" -o "Dir::Cache=$dir/cache"
          -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false
          -o APT::Sandbox::User=)
    apt-get "${opts[@]}" update &&
        (cd "$dir" && apt-get "${opts[@]}" download "$@")
}

fetch_test_nginx()
{
    local dir=$1 work=$BUILD/test-nginx.apt suite deb

    for suite in testing unstable stable; do
        if fetch_packages "$suite" "$work" libtest-nginx-perl; then
            for deb in "$work"/libtest-nginx-perl_*.deb; do
                rm -rf "$dir.new"
                dpkg-deb -x "$deb" "$dir.new"
            done
            rm -rf "$dir" "$work"
            mv -T "$dir.new" "$dir"
            return 0
        fi
    done

    rm -rf "$work"
    return 1
}


# --- building and the rest -------------------------------------------------------

# Warnings are errors for `test`, and from then on in this build directory: the flags
# are part of what decides about a rebuild, and the verbs should not undo each other's.
compile()
{
    mkdir -p "$BUILD"
    BUILD=$BUILD "$ROOT/ngx_study_module/build" &&
    make -s -C "$ROOT/worker" -j"$(nproc)" BUILD="$BUILD" \
        WERROR="$([[ -e $BUILD/.werror ]] && echo 1)" "$@"
}

verb_build()
{
    need build
    compile all
    say "Built: build/ngx_http_study_module.so build/study-worker build/studyctl"
}

verb_demo()
{
    need build demo
    say "Building ..."
    mkdir -p "$BUILD"
    if ! compile all > "$BUILD/build.log" 2>&1; then
        tail -n 40 "$BUILD/build.log" >&2
        die "the build failed: build/build.log"
    fi
    exec perl "$ROOT/t/demo.pl" "$@"
}

verb_test()
{
    need build demo test
    mkdir -p "$BUILD"
    : > "$BUILD/.werror"
    compile all unit
    exec perl "$ROOT/t/run" "$@"
}

# Verbs whose work lies in a script of its own.
script_of()
{
    case $1 in
    bench)  say "$ROOT/t/bench/run" ;;
    chaos)  say "$ROOT/t/chaos/run" ;;
    fuzz)   say "$ROOT/t/fuzz/run" ;;
    matrix) say "$ROOT/t/matrix/run" ;;
    esac
}

verb_script()
{
    local verb=$1 script
    shift

    script=$(script_of "$verb")
    need build demo test
    compile all
    exec "$script" "$@"
}

# The packages are built from a copy of the tree, so nothing is compiled here.
verb_deb()
{
    need build deb
    exec "$ROOT/conf/debian/build"
}


# --- what may be asked for -------------------------------------------------------

# verb | what it takes | what it does
VERBS='
build  |                             | builds the nginx module, the worker and studyctl into build/
deps   |                             | installs what is missing with apt; no service is started or enabled
demo   | [option ...]                | the whole chain on this machine, from nothing to a digest in Slack
test   | [option ...] [pattern ...]  | every test, or those whose path has the pattern in it
bench  | [name [option ...]]         | the benchmarks: tables, and build/bench/*.json
chaos  | [chain/accept] [option ...] | random faults under load: the whole chain, or only the way in
fuzz   | [option ...] [target ...]   | searches for inputs that break a parser
matrix | [pattern ...]               | the module and its tests against other nginx versions
deb    |                             | Debian packages into build/deb/
clean  |                             | removes build/
help   |                             | this text
'

# verb | option, with a word for its value if it takes one | what it does
OPTIONS='
demo  | --lang WHICH      | the workspaces: a Korean one (ko), an English one (en), both
demo  | --keep            | leaves everything running and prints the addresses
demo  | --stop            | ends what --keep left running
demo  | --real-openai     | a real model: OPENAI_API_KEY, and OPENAI_BASE_URL if set
demo  | --model NAME      | ... and which one
demo  | --real-slack      | the digests go to a real workspace: SLACK_BOT_TOKEN
demo  | --slack-user ID   | ... to this member of it
demo  | --yes             | does not ask before something leaves this machine
test  | --variants        | also the module under valgrind, through reloads and over HTTP/2, the worker with sanitizers
test  | --variant NAME    | one of them: valgrind, sanitize, hup, http2; or memcheck, the worker under valgrind
test  | --list            | says which files it would run
test  | -j N              | files at once; by default two a processor
test  | -v                | shows what they say while they run
chaos | --minutes N       | chain: how long (5)
chaos | --senders N       | chain: how many play Slack (4)
chaos | --settle SECONDS  | chain: how long it may take until all is done (120)
chaos | --events N        | accept: how many (100000)
chaos | --processes N     | accept: of nginx (2)
chaos | --rate N          | events a second
chaos | --seed N          | the same faults in the same order
fuzz  | -t SECONDS        | how long each target (60)
'

# The other cells of the rows of a TABLE whose first is VERB: one row a line, | between them.
rows()
{
    local verb=$1 first more

    while IFS='|' read -r first more; do
        [[ ${first// /} != "$verb" ]] || sed 's/^ *//; s/ *| */|/g' <<<"$more"
    done <<<"$2"
}

usage_line()
{
    local takes what

    IFS='|' read -r takes what < <(rows "$1" "$VERBS")
    say "usage: ./build.sh $1${takes:+ $takes}"
}

help_of()
{
    local verb=$1 takes what option

    IFS='|' read -r takes what < <(rows "$verb" "$VERBS")
    usage_line "$verb"
    say
    say "  $what"
    say
    while IFS='|' read -r option what; do
        printf '  %-19s %s\n' "$option" "$what"
    done < <(rows "$verb" "$OPTIONS")
    printf '  %-19s %s\n' '-h, --help' 'this text, and nothing else'
    if [[ $verb == bench ]]; then
        say
        say "A benchmark's own options follow its name; the head of t/bench/NAME.pl has them."
    fi
}

asks_help()
{
    local arg

    for arg; do
        [[ $arg != -h && $arg != --help ]] || return 0
    done
    return 1
}

refuse()
{
    warn "$1: $2"
    usage_line "$1" >&2
    exit 2
}

# Refuses what VERB does not take, before anything is installed or built.
check_arguments()
{
    local verb=$1 synopsis what arg known
    local -A takes=()
    shift

    IFS='|' read -r synopsis what < <(rows "$verb" "$VERBS")
    while read -r known what; do
        takes[$known]=$what
    done < <(rows "$verb" "$OPTIONS" | cut -d '|' -f 1)

    while (( $# )); do
        arg=$1
        shift
        case $arg in
        -?*)
            [[ $verb != bench ]] || return 0        # each judges its own
            known=${arg%%=*}
            [[ -v takes[$arg] || $arg == --* ]] || known=${arg:0:2}
            [[ -v takes[$known] ]] || refuse "$verb" "there is no option $arg"
            if [[ -n ${takes[$known]} && $arg == "$known" ]]; then
                (( $# )) || refuse "$verb" "$arg wants a value"
                shift
            elif [[ -z ${takes[$known]} && $arg != "$known" ]]; then
                refuse "$verb" "$known takes no value"
            fi
            ;;
        *)
            [[ -n ${synopsis#"[option ...]"} ]] || refuse "$verb" "takes no '$arg'"
            ;;
        esac
    done
}

usage()
{
    local verb takes what

    say 'usage: ./build.sh [verb [argument ...]]'
    say
    while IFS='|' read -r verb takes what; do
        verb=${verb// /}
        [[ -n $verb ]] || continue
        [[ $verb != build ]] || verb='(none)'
        printf '  %-9s%s\n' "$verb" "${what# }"
    done <<<"$VERBS"
    cat <<'EOF'

  NGINX_SRC=DIR       builds the module against that nginx source tree
  CC=, CFLAGS_EXTRA=  compiler and further flags

./build.sh VERB --help tells what it takes.
EOF
}

# A kept demo's directory belongs to running processes, and partly to other users.
verb_clean()
{
    if [[ -e $BUILD/demo.lock ]] && ! flock -n "$BUILD/demo.lock" true; then
        die "a demo is still running: ./build.sh demo --stop"
    fi
    rm -rf "$BUILD"
}

main()
{
    local verb=${1:-build}
    (( $# == 0 )) || shift

    case $verb in
    install-as-root) install_as_root "$@"; return ;;
    -h|--help)       verb=help ;;
    esac
    [[ -n $(rows "$verb" "$VERBS") ]] || { usage >&2; exit 2; }

    # Asking installs and builds nothing.
    if asks_help "$@"; then
        help_of "$verb"
        exit 0
    fi
    check_arguments "$verb" "$@"

    case $verb in
    build)           verb_build "$@" ;;
    deps)            need build deb demo test; say "Everything needed is installed." ;;
    demo)            verb_demo "$@" ;;
    test)            verb_test "$@" ;;
    bench|chaos|fuzz|matrix) verb_script "$verb" "$@" ;;
    deb)             verb_deb ;;
    clean)           verb_clean ;;
    help)            usage ;;
    esac
}

# The tests read this file for its functions.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main "$@"
fi
