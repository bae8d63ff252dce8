#!/usr/bin/perl

# ./build.sh demo: the main job on this machine, from nothing to a digest in Slack.
#
# Everything it starts is real but Slack and the model, private to build/demo, and gone
# when it ends, however it ends. With --keep a second process holds it all: it runs the
# demo, and afterwards waits until --stop ends it.
#
# Every figure in the closing summary is compared with what the day of messages must
# come to; a difference is a failure, with the log lines that matter.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use Fcntl qw(:flock);
use File::Path qw(make_path remove_tree);
use Getopt::Long qw(GetOptions);
use HTTP::Tiny ();
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);

use StudyTest::Chain;
use StudyTest::Day;
use StudyTest::Proc qw(root_dir slurp spew wait_for);
use StudyTest::Screen;

my $HOME = root_dir() . '/build/demo';
my $RUNNING = "$HOME/running";
my $LIMIT = 60;         # seconds for any one step

my %opt = (lang => 'both');
GetOptions(\%opt, qw(keep stop lang=s real-openai real-slack slack-user=s model=s yes))
    && !@ARGV && $opt{lang} =~ /^(?:ko|en|both)$/
    or usage();

# A key that happens to be exported must not send anything anywhere.
my %key = map { $_ => delete $ENV{$_} } qw(OPENAI_API_KEY OPENAI_BASE_URL SLACK_BOT_TOKEN SLACK_API_URL);
delete @ENV{ grep { /^(?:STUDY_|PG|REDIS)/ } keys %ENV };
delete $ENV{$_} for qw(http_proxy HTTP_PROXY all_proxy ALL_PROXY);
$ENV{LC_ALL} = 'C.UTF-8';

my $screen = StudyTest::Screen->new;
my ($chain, $lock);

exit stop_kept() if $opt{stop};
refuse_second();
my $day = make_day();
agree();
prepare_home();
exit($opt{keep} ? keep() : demo());


sub usage {
    print STDERR "usage: ./build.sh demo [option ...]; ./build.sh demo --help tells which\n";
    exit 2;
}


# --- before anything starts ----------------------------------------------------------

# The kept demo's keeper, if it lives: its id, checked against its start time.
sub kept_pid {
    return if !-e $RUNNING;
    my ($pid, $start) = split ' ', slurp($RUNNING);
    my $now = eval { started_at($pid) };
    return defined $now && $now eq $start ? $pid : undef;
}

sub started_at {
    my ($pid) = @_;
    my $stat = slurp("/proc/$pid/stat");
    return (split ' ', $stat =~ s/^.*\)\s+//sr)[19];
}

sub refuse_second {
    if (my $pid = kept_pid()) {
        print STDERR "A demo is still running (process $pid). End it with: ./build.sh demo --stop\n";
        exit 1;
    }
    # Held until the end, by the keeper too; closed in whatever is started.
    make_path(root_dir() . '/build');
    open $lock, '>', root_dir() . '/build/demo.lock' or die "demo.lock: $!\n";
    if (!flock $lock, LOCK_EX | LOCK_NB) {
        print STDERR "Another demo is running in this directory.\n";
        exit 1;
    }
    return;
}

sub stop_kept {
    my $pid = kept_pid();
    if (!$pid) {
        $screen->line('No demo is running.');
        unlink $RUNNING;
        return 0;
    }
    kill TERM => $pid;
    eval { wait_for { !-e "/proc/$pid" || !kept_pid() } 60, 'the demo to end'; 1 } or do {
        print STDERR "The demo (process $pid) does not end; its log is $HOME/keeper.log\n";
        return 1;
    };
    $screen->line('The demo has ended.');
    return 0;
}

sub make_day {
    my %where = (languages => $opt{lang} ne 'both' ? [ $opt{lang} ] : $opt{'real-slack'} ? ['ko'] : [ 'ko', 'en' ]);

    if ($opt{'real-slack'}) {
        die "--real-slack needs SLACK_BOT_TOKEN in the environment\n" if !length($key{SLACK_BOT_TOKEN} // '');
        die "--real-slack needs --slack-user ID: who shall get the digest\n" if !$opt{'slack-user'};
        my $me = real_slack('auth.test');
        @where{qw(team bot only)} = ($me->{team_id}, $me->{user_id}, [ $opt{'slack-user'} ]);
        $opt{workspace} = $me->{team};
    }
    die "--real-openai needs OPENAI_API_KEY in the environment\n"
        if $opt{'real-openai'} && !length($key{OPENAI_API_KEY} // '');

    return StudyTest::Day->new(%where);
}

sub slack_url { return ($key{SLACK_API_URL} // 'https://slack.com/api/') =~ s{/*$}{/}r }
sub openai_url { return $key{OPENAI_BASE_URL} // 'https://api.openai.com/v1' }

sub real_slack {
    my ($method, %form) = @_;

    my $got = HTTP::Tiny->new(timeout => 20, verify_SSL => 1)->post_form(
        slack_url() . $method, \%form, { headers => { Authorization => "Bearer $key{SLACK_BOT_TOKEN}" } },
    );
    my $answer = $got->{success} ? JSON::PP->new->utf8->decode($got->{content}) : {};
    die "Slack's $method: " . ($answer->{error} // "$got->{status} $got->{reason}") . "\n" if !$answer->{ok};
    return $answer;
}

# Says what would leave this machine, and asks.
sub agree {
    my @leaves;
    my $texts = grep { !$_->{deleted} } values %{ $day->rows };
    push @leaves, sprintf '%d made-up study messages, without names or ids, to %s', $texts, openai_url()
        if $opt{'real-openai'};
    push @leaves, sprintf 'a notice and the digests, as direct messages to %s in the workspace "%s" at %s',
        $opt{'slack-user'}, $opt{workspace}, slack_url() if $opt{'real-slack'};
    return if !@leaves;

    $screen->line('This will leave your machine:');
    $screen->line("  $_") for @leaves;
    return if $opt{yes};
    die "Not asked, since this is not a terminal: repeat with --yes.\n" if !-t STDIN;
    $screen->line('Go on? [y/N]');
    exit 1 if (<STDIN> // '') !~ /^y(?:es)?$/i;
    return;
}

sub prepare_home {
    make_path($HOME);
    remove_tree($HOME, { keep_root => 1, error => \my $failed });
    die "$HOME: " . join('; ', map { values %$_ } @$failed) . " (made by another user? remove it)\n" if @$failed;
    return;
}


# --- running it ------------------------------------------------------------------------

# Whatever happens, everything is stopped in order; a signal comes here in the middle of
# any step, so nothing is asked of the step.
sub end_on_signals {
    for my $signal (qw(INT TERM HUP PIPE)) {
        $SIG{$signal} = sub {
            $SIG{$_} = 'IGNORE' for qw(INT TERM HUP PIPE);
            print STDERR "\nStopping ...\n";
            StudyTest::Proc::stop_all();
            POSIX::_exit(130);
        };
    }
    return;
}

sub demo {
    end_on_signals();
    my $status = run_through();
    $chain->stop if $chain;
    StudyTest::Proc::stop_all();
    return $status;
}

# The demo in a process of its own, which outlives this one when all went well.
sub keep {
    pipe my $from, my $to or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";

    if (!$pid) {
        close $from;
        POSIX::setsid();
        end_on_signals();
        my $status = run_through();
        if ($status == 0) {
            spew($RUNNING, "$$ " . started_at($$) . "\n");
            show_addresses();
        }
        print {$to} "$status\n";
        close $to;
        exit hold($status);
    }

    close $to;
    $SIG{$_} = sub { kill TERM => $pid } for qw(INT TERM HUP);
    my $status = <$from>;
    if (!defined $status) {         # it ended without a word
        waitpid $pid, 0;
        return $? >> 8 || 1;
    }
    return $status + 0;
}

sub hold {
    my ($status) = @_;

    open STDIN, '<', '/dev/null';
    open STDOUT, '>>', "$HOME/keeper.log";
    open STDERR, '>&', \*STDOUT;
    if ($status == 0) {
        my $over;
        $SIG{$_} = sub { $over = 1 } for qw(INT TERM);
        $SIG{HUP} = 'IGNORE';
        sleep 1 while !$over;
    }
    $chain->stop if $chain;
    StudyTest::Proc::stop_all();
    unlink $RUNNING;
    return $status;
}

sub show_addresses {
    $screen->head('Still running');
    my @rows = (
        [ 'Slack events', $chain->nginx->url . '/slack/events' ],
        [ 'trigger', $chain->nginx->url . '/study/trigger?schedule=daily' ],
        [ 'nginx counters', $chain->nginx->url . '/study/metrics' ],
        [ 'worker', $chain->worker->url . '/metrics, /healthz, /status.json' ],
        [ 'studyctl', 'build/studyctl -c ' . $chain->worker->file . ' status' ],
        [ 'PostgreSQL', 'psql "' . $chain->pg->dsn . '"' ],
        [ 'Redis', 'REDISCLI_AUTH=$(cat ' . $chain->redis->password_file('study-worker') . ') redis-cli -s '
            . $chain->redis->socket . ' --user study-worker --no-auth-warning' ],
        $chain->slack ? [ 'Slack', 'stand-in; what it was sent: ' . $chain->slack->origin . '/_control/received' ] : (),
        $chain->openai ? [ 'model', 'stand-in; what it was asked: ' . $chain->openai->origin . '/_control/received' ] : (),
        [ 'secrets', "$HOME/nginx (signing, trigger), $HOME/redis (passwords)" ],
        [ 'end it', './build.sh demo --stop' ],
    );
    $screen->line(sprintf '  %-16s %s', @$_) for @rows;
    return;
}

# 0 when everything agreed.
sub run_through {
    $screen->head('Study Tracker: a day of a study group, from Slack and back');
    $screen->line;

    my $got = {};
    my $ok = eval {
        start_chain();
        send_day($got);
        store($got);
        digest($got);
        command($got) if !$opt{'real-slack'};
        1;
    };
    my $why = $@;
    show_rows() if $chain && eval { $chain->value('SELECT 1') };
    show_digests($got) if $got->{digests};

    my @wrong = $ok ? (summary($got), show_factual($got)) : ("$why" =~ s/ at \S+ line \d+\.?\n?\z//r);
    if (@wrong) {
        $screen->line;
        $screen->line($screen->red("FAILED: $_")) for @wrong;
        $screen->line;
        $screen->line($chain ? $chain->complaints : '(nothing was started)');
        $screen->line("The logs are in $HOME.");
        return 1;
    }
    return 0;
}

sub start_chain {
    my %said = (
        'Redis'      => sub { 'append-only file, appendfsync always, a socket' },
        'PostgreSQL' => sub { 'a cluster of its own, a socket' },
        'stand-ins'  => sub { $opt{'real-slack'} && $opt{'real-openai'} ? 'none: the real ones' : 'Slack and a model, local' },
        'schema'     => sub { 'studyctl migrate' },
        'nginx'      => sub { 'with the module and conf/nginx/study.conf' },
        'worker'     => sub { 'store, schedule, digest, deliver, status' },
    );
    my %real;
    my $teams = $day->teams;
    if ($opt{'real-slack'}) {
        $real{slack_url} = slack_url();
        $_->{token} = $key{SLACK_BOT_TOKEN} for values %$teams;
    }
    @real{qw(openai_url openai_key)} = (openai_url(), $key{OPENAI_API_KEY}) if $opt{'real-openai'};

    $chain = StudyTest::Chain->start(
        dir => $HOME, durable => 1, teams => $teams, %real,
        ($opt{model} ? (config => { openai => { model => $opt{model} } }) : ()),
        step => sub {
            my ($name, $code) = @_;
            $screen->step($name, sub { $code->(); return $said{$name}->() });
        },
    );
    return;
}

sub send_day {
    my ($got) = @_;

    $screen->step('Slack checks the URL', sub {
        my $challenge = join '', map { chr 97 + rand 26 } 1 .. 40;
        my $reply = $chain->sender->event({ type => 'url_verification', challenge => $challenge, token => 'x' });
        die "url_verification: $reply->{status}\n" if $reply->{status} != 200 || $reply->{content} ne $challenge;
        return 'the challenge came back';
    });
    $screen->step('a forged event', sub {
        my $reply = $chain->sender->event({ type => 'event_callback' }, secret => 'guessed');
        die "a forged event was answered $reply->{status}\n" if $reply->{status} != 401;
        return 'refused: 401';
    });

    my @events = $day->events;
    @$got{qw(sent answered)} = (0, 0);
    $screen->step('the day\'s events', sub {
        my ($progress) = @_;
        for my $item (@events) {
            my $reply = $chain->sender->event($item->{event}, $item->{retry} ? (retry => $item->{retry}) : ());
            $got->{sent}++;
            $got->{answered}++ if $reply->{status} == 200;
            $progress->("$got->{sent} of " . @events . ": $item->{what}");
        }
        return "$got->{answered} of $got->{sent} answered 200";
    });
    return;
}

sub store {
    my ($got) = @_;

    my $want = keys %{ $day->rows };
    $screen->step('stored', sub {
        my ($progress) = @_;
        wait_for {
            $got->{stored} = $chain->value('SELECT count(*) FROM study.message');
            $progress->("$got->{stored} of $want rows");
            $got->{stored} >= $want && drained();
        } $LIMIT, "$want rows, and empty lists (rows: " . ($got->{stored} // 0) . ')';
        return "$got->{stored} rows of $got->{sent} events";
    });
    return;
}

sub drained { return eval { $chain->wait_drained(0) } }

sub digest {
    my ($got) = @_;

    my $want = my @owed = $day->members;
    $screen->step('the schedule fires', sub {
        my $reply = $chain->sender->trigger(schedule => 'daily', key => 'demo');
        die "trigger: $reply->{status} $reply->{content}\n" if $reply->{status} != 202;
        wait_for {
            my $state = $chain->value('SELECT state FROM study.firing ORDER BY firing_id DESC LIMIT 1');
            defined $state && $state eq 'done';
        } $LIMIT + 30, 'the firing to be done';
        $got->{owed} = $chain->value('SELECT count(*) FROM study.digest');
        return "$got->{owed} digests owed";
    });
    $screen->step('digests written', sub {
        my ($progress) = @_;
        my $limit = $opt{'real-openai'} ? 300 : $LIMIT;
        wait_for {
            my $made = $chain->value("SELECT count(*) FROM study.digest WHERE state = 'made'");
            $progress->("$made of $want");
            $made >= $want;
        } $limit, "$want digests to be written";
        my ($model, $tokens) = $chain->dbh->selectrow_array(
            "SELECT count(*) FILTER (WHERE origin = 'model'), sum(prompt_tokens + completion_tokens) FROM study.digest");
        $got->{by_model} = $model;
        return "$model by the model, " . ($tokens // 0) . ' tokens';
    });
    $screen->step('delivered', sub {
        my ($progress) = @_;
        wait_for {
            my $sent = $chain->value("SELECT count(*) FROM study.outbox WHERE kind = 'digest' AND state = 'sent'");
            $progress->("$sent of $want");
            $sent >= $want && $chain->value("SELECT count(*) FROM study.outbox WHERE kind IN ('digest', 'notice') AND state NOT IN ('sent', 'cancelled')") == 0;
        } $LIMIT, "$want digests to be delivered";
        return 'a notice and a digest each, a second apart';
    });
    $got->{digests} = $opt{'real-slack'} ? real_digests() : { map { $_ => [ in_slack($_) ] } @owed };
    return;
}

# /study as a member types it; the answer goes to the address that Slack gives with it.
sub command {
    my ($got) = @_;

    my ($id) = sort $day->members;
    my $team = $chain->value('SELECT team_id FROM study.member WHERE user_id = ?', $id);
    $screen->step('/study today', sub {
        my $reply = $chain->sender->command(team_id => $team, user_id => $id, text => 'today',
            response_url => $chain->slack->origin . '/response/demo');
        die "command: $reply->{status} $reply->{content}\n" if $reply->{status} != 200;
        my $answer;
        wait_for {
            ($answer) = grep { $_->{path} eq '/response/demo' } $chain->slack->received('response_url');
            $answer;
        } $LIMIT, 'an answer';
        my $body = $answer->{body};
        utf8::encode($body) if utf8::is_utf8($body);
        $got->{command} = { user => $id, answer => JSON::PP->new->utf8->decode($body) };
        return 'answered to ' . $day->name_of($id) . ' alone';
    });
    return;
}

sub in_slack {
    my ($id) = @_;
    my $team = $chain->value('SELECT team_id FROM study.member WHERE user_id = ?', $id);
    return $chain->slack->messages(team => $team, user => $id);
}

# What the real workspace holds, asked as any client would.
sub real_digests {
    my %found;
    for my $id ($day->members) {
        my $channel = real_slack('conversations.open', users => $id)->{channel}{id};
        my $history = real_slack('conversations.history', channel => $channel, limit => 50,
            include_all_metadata => 'true', oldest => $^T);
        $found{$id} = [ reverse @{ $history->{messages} } ];
    }
    return \%found;
}


# --- what it came to ---------------------------------------------------------------------

sub show_rows {
    $screen->head('What PostgreSQL holds (study.message)');
    my $rows = $chain->dbh->selectall_arrayref(<<'END', { Slice => {} });
SELECT channel_id, user_id, ts, thread_ts, edited_ts, deleted, text, posted_at AT TIME ZONE 'Asia/Seoul' AS at
  FROM study.message ORDER BY ts
END
    for my $row (@$rows) {
        my $mark = $row->{deleted} ? 'deleted' : $row->{edited_ts} ? 'edited' : $row->{thread_ts} ? 'reply' : '';
        $screen->line('  ', substr($row->{at}, 11, 5), '  ',
            StudyTest::Screen::fit('#' . $day->channel_name($row->{channel_id}), 11), ' ',
            StudyTest::Screen::fit($day->name_of($row->{user_id} // '?'), 15), ' ',
            $screen->dim(sprintf '%-8s', $mark), StudyTest::Screen::fit($row->{text} =~ s/\s+/ /gr, 54));
    }
    return;
}

# The digests among a member's direct messages; the rest are notices.
sub digests_among {
    my %ids = map { $_ => 1 } @{ $chain->dbh->selectcol_arrayref(
        "SELECT outbox_id::text FROM study.outbox WHERE kind = 'digest'") };
    return grep { $ids{ $_->{metadata}{event_payload}{outbox_id} // '' } } @_;
}

sub show_digests {
    my ($got) = @_;

    $screen->head('What reached Slack');
    my $bot = $opt{'real-slack'} ? 'the bot' : 'studytracker';
    my %name = (user => sub { $day->name_of($_[0]) }, channel => sub { $day->channel_name($_[0]) });
    for my $id (sort keys %{ $got->{digests} }) {
        $screen->line;
        $screen->line('  ', $screen->bold("$bot → " . $day->name_of($id)), $screen->dim('  (direct message)'));
        for my $message (digests_among(@{ $got->{digests}{$id} })) {
            $screen->message($message, %name);
        }
    }
    if (my $asked = $got->{command}) {
        $screen->line;
        $screen->line('  ', $screen->bold('/study today, by ' . $day->name_of($asked->{user})), $screen->dim('  (seen by them alone)'));
        $screen->message($asked->{answer}, %name);
    }
    return;
}

# The same day without a model: made anew past its deadline, shown from the outbox, never sent.
sub show_factual {
    my ($got) = @_;

    my $dbh = $chain->dbh;
    my %shown;
    $screen->head('The same day, had the model been away (not sent)');
    $dbh->do("INSERT INTO study.pause (role, reason) VALUES ('deliver', 'demo')");
    for my $id (sort keys %{ $got->{digests} }) {
        next if $shown{ $day->language_of($id) }++;
        my ($digest) = $dbh->selectrow_array(q{UPDATE study.digest SET state = 'pending', source_version = source_version + 1,
            result = NULL, deadline = now(), next_at = now() WHERE user_id = ? AND state = 'made' RETURNING digest_id}, undef, $id);
        return "no digest of $id to make anew" if !$digest;
        $dbh->do('NOTIFY study_digest');
        my $body = wait_for { $dbh->selectrow_array(q{SELECT body FROM study.outbox WHERE digest_id = ? AND state = 'pending'}, undef, $digest) } $LIMIT, 'the factual digest';
        $screen->line;
        $screen->line('  ', $screen->bold('studytracker → ' . $day->name_of($id)));
        $screen->message(JSON::PP->new->decode($body), user => sub { $day->name_of($_[0]) }, channel => sub { $day->channel_name($_[0]) });
        $dbh->do(q{UPDATE study.outbox SET state = 'cancelled', error = 'demo', done_at = now() WHERE digest_id = ? AND state = 'pending'}, undef, $digest);
    }
    $dbh->do("DELETE FROM study.pause WHERE reason = 'demo'");
    return;
}

# Prints the figures; returns what disagrees.
sub summary {
    my ($got) = @_;

    my @wrong;
    my @owed = $day->members;
    my $want = $day->rows;

    my %have = map { ("$_->{channel_id} $_->{ts}" => $_) } @{ $chain->dbh->selectall_arrayref(
        'SELECT channel_id, ts, user_id, text, deleted FROM study.message', { Slice => {} }) };
    for my $place (sort keys %$want) {
        my ($row, $must) = ($have{$place}, $want->{$place});
        if (!$row) { push @wrong, "no row for the message $place"; next }
        push @wrong, "the row of $place has another text than was last written" if $row->{text} ne $must->{text};
        push @wrong, "the row of $place is " . ($must->{deleted} ? 'not deleted' : 'deleted')
            if !!$row->{deleted} != !!$must->{deleted};
    }
    push @wrong, "a row that should not be: $_" for grep { !$want->{$_} } sort keys %have;
    my $leaked = $chain->value("SELECT count(*) FROM study.dead_event");
    push @wrong, "$leaked events could not be stored (study.dead_event)" if $leaked;

    my ($delivered, $notices) = (0, 0);
    for my $id (@owed) {
        my @texts = digests_among(@{ $got->{digests}{$id} });
        $delivered += @texts;
        $notices += @{ $got->{digests}{$id} } - @texts;
        push @wrong, $day->name_of($id) . ' has ' . @texts . ' digests in Slack, not 1' if @texts != 1;
        push @wrong, 'what was deleted is in the digest of ' . $day->name_of($id)
            if grep { JSON::PP->new->encode($_) =~ /shopping list|회사 회의|PRIVATE/ } @texts;
    }

    my @figures = (
        [ 'events sent',       $got->{sent},     scalar(my @all = $day->events) ],
        [ 'answered 200',      $got->{answered}, $got->{sent} ],
        [ 'messages stored',   scalar(keys %have), scalar keys %$want ],
        [ 'digests owed',      $got->{owed},     scalar @owed ],
        [ 'notices before',    $notices,         scalar @owed ],
        [ 'digests delivered', $delivered,       scalar @owed ],
    );
    push @figures, [ 'written by the model', $got->{by_model}, scalar @owed ] if !$opt{'real-openai'};

    $screen->head('Summary');
    for my $figure (@figures) {
        my ($name, $is, $must) = @$figure;
        my $good = $is == $must;
        push @wrong, "$name: $is, not $must" if !$good;
        $screen->line(sprintf('  %-22s %5d  ', $name, $is), $good ? $screen->green('ok') : $screen->red("not $must"));
    }
    $screen->line(sprintf '  %-22s %5.1f s', 'time taken', $screen->seconds);
    return @wrong;
}
