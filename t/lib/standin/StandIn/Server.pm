package StandIn::Server;

# The HTTP/1.1 server under both stand-ins: one process, one non-blocking loop
# (Mojo::IOLoop, on EV where it is installed), keep-alive and pipelining.
#
# It speaks HTTP by itself, over the loop's bare streams, because a stand-in
# must be able to do what a framework is built to prevent: close a connection
# without an answer, cut a body in the middle, drip it byte by byte, promise one
# content type and send another.  Request heads are parsed by HTTP::Parser::XS.
#
# What a stand-in is (its methods, its state) is an object with:
#   prepare($req)              fill $req->{method} and $req->{args}
#   handle($req, $fault)       the real answer: {status, headers, body, delay}
#   refuse($req, $fault)       the answer of a fault of kind "status" or "error"
#   control($path, $req)       control calls of its own; undef when unknown
#   reset($what)               forget state
# A body that is a reference is sent as JSON.

use Mojo::Base -base, -signatures;

use HTTP::Parser::XS qw(parse_http_request);
use Mojo::IOLoop;
use Mojo::JSON qw(decode_json encode_json);
use Socket ();
use Time::HiRes ();

use StandIn::Faults;
use StandIn::Received;

use constant {MAX_HEAD => 65536, MAX_BODY => 16 * 1024 * 1024};

my %REASON = (
    200 => 'OK', 202 => 'Accepted', 400 => 'Bad Request', 401 => 'Unauthorized', 403 => 'Forbidden',
    404 => 'Not Found', 405 => 'Method Not Allowed', 408 => 'Request Timeout', 409 => 'Conflict',
    413 => 'Content Too Large', 422 => 'Unprocessable Content', 429 => 'Too Many Requests',
    431 => 'Request Header Fields Too Large', 500 => 'Internal Server Error', 502 => 'Bad Gateway',
    503 => 'Service Unavailable', 504 => 'Gateway Timeout',
);

has api       => undef;
has faults    => sub { StandIn::Faults->new };
has keepalive => 600;
has log_file  => undef;
has received  => sub { StandIn::Received->new };

sub run ($self, $listen, $port_file) {
    my $loop = Mojo::IOLoop->singleton;
    $loop->max_connections(60_000)->max_accepts(0);

    my %where
        = $listen =~ m{^/}               ? (path => $listen)
        : $listen =~ /^\[?(.+?)\]?:(\d+)$/ ? (address => $1, port => $2)
        :                                  die "--listen $listen: neither host:port nor a path\n";
    unlink $listen if $where{path} && -S $listen;

    if (defined $self->log_file) {
        open $self->{log}, '>>', $self->log_file or die $self->log_file . ": $!\n";
        $self->{log}->autoflush(1);
    }

    $self->reset_counters;
    my $id = $loop->server({%where, backlog => 4096} => sub ($loop, $stream, $cid) { $self->_accept($stream, $cid) });

    local $SIG{TERM} = local $SIG{INT} = sub { $loop->stop };
    local $SIG{PIPE} = 'IGNORE';
    $loop->recurring(0.1 => sub { });    # Perl sees a signal when Perl next runs
    _announce($port_file, $where{path} // $loop->acceptor($id)->port) if defined $port_file;
    $loop->start;
    unlink $listen if $where{path};
}

# The file appears whole: who waits for it never reads half a number.
sub _announce ($file, $what) {
    open my $fh, '>', "$file.new" or die "$file.new: $!\n";
    print $fh "$what\n";
    close $fh             or die "$file.new: $!\n";
    rename "$file.new", $file or die "$file: $!\n";
}

sub reset_counters ($self) {
    my $open = $self->{counters} ? $self->{counters}{open_connections} : 0;
    my $now  = $self->{counters} ? $self->{counters}{concurrency}      : 0;
    $self->{counters} = {
        requests        => 0,  connections      => $open, open_connections => $open, concurrency => $now,
        max_concurrency => $now, aborted        => 0,     cut              => 0,     bytes_in    => 0,
        by_method       => {}, by_status        => {},    by_fault         => {},
    };
}

# --- connections ---------------------------------------------------------

sub _accept ($self, $stream, $cid) {
    my $conn = {id => $cid, stream => $stream, buf => '', busy => 0, requests => 0};
    my $c    = $self->{counters};
    $c->{connections}++;
    $c->{open_connections}++;

    if ((my $sock = $stream->handle)->sockdomain != Socket::AF_UNIX()) {
        setsockopt $sock, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1;
    }
    $stream->timeout($self->keepalive);
    $stream->on(read => sub ($stream, $bytes) {
        $conn->{buf} .= $bytes;
        $self->_next($conn) if !$conn->{busy};
    });
    $stream->on(error => sub { });
    $stream->on(
        close => sub {
            $self->{counters}{open_connections}--;
            $conn->{gone} = 1;
            Mojo::IOLoop->remove($_) for grep {defined} delete @$conn{qw(timer drip)};
            if (my $req = delete $conn->{req}) {
                $self->{counters}{aborted}++;
                $self->_finish($req, 'aborted');
            }
            %$conn = (gone => 1);
        }
    );
}

# Takes the next whole request out of the connection's buffer, if there is one.
sub _next ($self, $conn) {
    return if $conn->{busy} || $conn->{gone} || !length $conn->{buf};

    if (!$conn->{head}) {
        my %env;
        my $n = parse_http_request($conn->{buf}, \%env);
        return $self->_refuse_http($conn, 400) if $n == -1;
        if ($n == -2) {
            return length $conn->{buf} > MAX_HEAD ? $self->_refuse_http($conn, 431) : ();
        }
        substr $conn->{buf}, 0, $n, '';
        $conn->{head} = \%env;
        if (lc($env{HTTP_EXPECT} // '') eq '100-continue') {
            $conn->{stream}->write("HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    my $env  = $conn->{head};
    my $body = lc($env->{HTTP_TRANSFER_ENCODING} // '') =~ /chunked/ ? _chunked($conn) : _sized($conn, $env);
    return if !defined $body;
    return $self->_refuse_http($conn, ref $body ? $$body : 413) if ref $body;

    delete @$conn{qw(head chunks)};
    $self->_request($conn, $env, $body);
}

sub _sized ($conn, $env) {
    my $length = $env->{CONTENT_LENGTH} || 0;
    return \400 if $length !~ /^\d+$/;
    return \413 if $length > MAX_BODY;
    return undef if length $conn->{buf} < $length;
    return substr $conn->{buf}, 0, $length, '';
}

sub _chunked ($conn) {
    $conn->{chunks} //= '';
    while (1) {
        if ($conn->{trailer}) {
            return undef if $conn->{buf} !~ s/^(?:[^\r\n]+\r\n)*\r\n//;
            delete $conn->{trailer};
            return $conn->{chunks};
        }
        return (length $conn->{buf} > 64 && $conn->{buf} !~ /^[0-9a-fA-F]{1,7}[;\r]/ ? \400 : undef)
            if $conn->{buf} !~ /^([0-9a-fA-F]{1,7})(?:;[^\r\n]*)?\r\n/;
        my ($line, $size) = ($+[0], hex $1);
        return \413 if length($conn->{chunks}) + $size > MAX_BODY;
        if ($size == 0) {
            substr $conn->{buf}, 0, $line, '';
            $conn->{trailer} = 1;
            next;
        }
        return undef if length $conn->{buf} < $line + $size + 2;
        $conn->{chunks} .= substr $conn->{buf}, $line, $size;
        substr $conn->{buf}, 0, $line + $size + 2, '';
    }
}

sub _refuse_http ($self, $conn, $status) {
    $conn->{busy} = 1;
    $conn->{stream}->write(_head($status, {Connection => 'close', 'Content-Length' => 0}), sub ($s) { $s->close });
}

# --- one request ---------------------------------------------------------

sub _request ($self, $conn, $env, $body) {
    my ($path) = $env->{REQUEST_URI} =~ m{^(?:https?://[^/]*)?([^?#]*)};
    my %headers;
    for (keys %$env) {
        next if !/^(?:HTTP_(.+)|(CONTENT_(?:TYPE|LENGTH)))$/;
        $headers{lc(($1 // $2) =~ tr/_/-/r)} = $env->{$_};
    }
    my $req = {
        http_method => $env->{REQUEST_METHOD},
        path        => $path,
        query       => $env->{QUERY_STRING} // '',
        headers     => \%headers,
        body        => $body,
        time        => Time::HiRes::time(),
        connection  => $conn->{id},
        nth         => ++$conn->{requests},
        close       => ($headers{connection} // '') =~ /close/i
            || ($env->{SERVER_PROTOCOL} // '') eq 'HTTP/1.0' ? 1 : 0,
    };
    $conn->{busy} = 1;
    return $self->_control($conn, $req) if $path =~ m{^/_control/};

    my $c = $self->{counters};
    $c->{requests}++;
    $c->{bytes_in} += length $body;
    $self->api->prepare($req);
    $c->{by_method}{$req->{method}}++;
    my $now = ++$c->{concurrency};
    $c->{max_concurrency} = $now if $now > $c->{max_concurrency};
    $req->{concurrency} = $now;
    $conn->{req} = $req;

    my $fault = $self->faults->pick($req);
    if ($fault) {
        $req->{fault} = $fault->{kind};
        $c->{by_fault}{$fault->{kind}}++;
        if ($fault->{kind} eq 'cut_before') {
            return $self->_cut($conn, $fault);
        }
    }
    $self->received->add($req);

    # A fault of the stand-in itself must look like nothing that is tested for.
    my $reply = eval { $self->_answer($req, $fault) };
    if (!$reply) {
        warn "$req->{method}: $@";
        $reply = {status => 500, body => {ok => Mojo::JSON->false, error => 'standin_bug'}};
    }
    $self->_reply($conn, $req, $reply, $fault);
}

sub _answer ($self, $req, $fault) {
    my $accept = !$fault || $fault->{accept};
    $req->{accepted} = $accept ? 1 : 0;
    my $reply = $accept ? $self->api->handle($req, $fault) : undef;
    $reply = $self->api->refuse($req, $fault) if $fault && $fault->{kind} =~ /^(?:status|error)$/;
    return $reply // {status => 200, body => {ok => Mojo::JSON->true}};
}

sub _reply ($self, $conn, $req, $reply, $fault) {
    my $kind  = $fault ? $fault->{kind} : '';
    my $delay = $reply->{delay} // 0;
    $delay = $fault->{seconds} // 3600 if $kind eq 'stall';
    $delay = $fault->{seconds}         if $kind eq 'delay';

    $req->{status} = $reply->{status} // 200;
    my $send = sub { $self->_send($conn, $req, $reply, $fault) };
    if ($kind eq 'hold' || $fault && $fault->{hold}) {
        push @{$self->{held}}, [$conn, $send];
    }
    elsif ($delay > 0) {
        $conn->{timer} = Mojo::IOLoop->timer($delay => sub { delete $conn->{timer}; $send->() });
    }
    else {
        $send->();
    }
}

sub _head ($status, $headers) {
    my @lines = map {"$_: $headers->{$_}"} keys %$headers;
    return join "\r\n", "HTTP/1.1 $status " . ($REASON{$status} // 'Status'), @lines, '', '';
}

# Puts the answer on the wire, bent as the fault says.
sub _send ($self, $conn, $req, $reply, $fault) {
    return if $conn->{gone};
    my $kind = $fault ? $fault->{kind} : '';
    return $self->_cut($conn, $fault) if $kind eq 'cut_after';

    my %headers = ('Content-Type' => 'application/json; charset=utf-8', %{$reply->{headers} // {}});
    my $body    = ref $reply->{body} ? encode_json($reply->{body}) : $reply->{body} // '';
    if ($kind eq 'nonsense') {
        $body = $fault->{body} // "<html>\0\xff\xfe{\"ok\": tru";
    }
    elsif ($kind eq 'wrong_type') {
        $headers{'Content-Type'} = $fault->{content_type} // 'text/html';
    }
    elsif ($kind eq 'empty') {
        $body = '';
    }
    $headers{'Content-Length'} = length $body;
    $headers{Connection}       = $req->{close} ? 'close' : 'keep-alive';
    my $head = _head($req->{status}, \%headers);

    if ($kind eq 'cut_body') {
        my $part = substr $body, 0, int(length($body) * ($fault->{part} // 0.5));
        $conn->{stream}->write($head . $part, sub { $self->_cut($conn, $fault) });
    }
    elsif ($kind eq 'drip') {
        $self->_drip($conn, $head . $body, $fault);
    }
    else {
        $conn->{stream}->write($head . $body, sub { $self->_sent($conn) });
    }
}

sub _drip ($self, $conn, $bytes, $fault) {
    my $step = $fault->{bytes} // 1;
    my $at   = 0;
    $conn->{drip} = Mojo::IOLoop->recurring(
        $fault->{interval} // 0.1 => sub {
            return if $conn->{gone};
            $conn->{stream}->write(substr $bytes, $at, $step);
            return if ($at += $step) < length $bytes;
            Mojo::IOLoop->remove(delete $conn->{drip});
            $conn->{stream}->write('', sub { $self->_sent($conn) });
        }
    );
}

sub _sent ($self, $conn) {
    return if $conn->{gone};
    my $req = delete $conn->{req} or return;
    $self->_finish($req, $req->{status});
    return $conn->{stream}->close_gracefully if $req->{close};
    $conn->{busy} = 0;
    $self->_next($conn) if length $conn->{buf};
}

# Closes without another byte: with a FIN, or with a reset when the fault asks.
sub _cut ($self, $conn, $fault) {
    return if $conn->{gone};
    $self->{counters}{cut}++;
    if (my $req = delete $conn->{req}) {
        $self->_finish($req, 'cut');
    }
    if ($fault->{reset}) {
        setsockopt $conn->{stream}->handle, Socket::SOL_SOCKET(), Socket::SO_LINGER(), pack 'll', 1, 0;
    }
    $conn->{stream}->close;
}

sub _finish ($self, $req, $outcome) {
    my $c = $self->{counters};
    $c->{concurrency}--;
    $c->{by_status}{$outcome}++;
    $req->{outcome} = $outcome;
    $req->{took}    = Time::HiRes::time() - $req->{time};
    delete $req->{args};    # made again when asked for: it is most of the memory
    if (my $log = $self->{log}) {
        printf $log "%.6f %s %s %s %.6f conn=%s fault=%s\n", @$req{qw(time method)}, length $req->{body}, $outcome,
            @$req{qw(took connection)}, $req->{fault} // '-';
    }
}

# --- control -------------------------------------------------------------

sub _control ($self, $conn, $req) {
    my ($what) = $req->{path} =~ m{^/_control/(.*)$};
    my $in = {};
    if (length $req->{body}) {
        $in = eval { decode_json($req->{body}) };
        return $self->_control_reply($conn, $req, 400, {error => 'the body is not JSON'}) if !defined $in;
    }
    my %query = map { /^([^=]*)=?(.*)$/ ? ($1 => _unescape($2)) : () } split /&/, $req->{query};
    my $out   = eval { $self->_control_call($what, $req->{http_method}, $in, \%query) };
    return $self->_control_reply($conn, $req, 400, {error => "$@"})                   if $@;
    return $self->_control_reply($conn, $req, 404, {error => "no control call $what"}) if !defined $out;
    return $self->_control_reply($conn, $req, 200, $out);
}

sub _unescape ($s) { $s =~ tr/+/ /; return $s =~ s/%([0-9a-fA-F]{2})/chr hex $1/ger }

sub _control_reply ($self, $conn, $req, $status, $data) {
    my $body = encode_json($data);
    my %h    = ('Content-Type' => 'application/json', 'Content-Length' => length $body);
    $conn->{stream}->write(
        _head($status, \%h) . $body,
        sub ($stream) {
            return                                if $conn->{gone};
            return $stream->close_gracefully      if $req->{close};
            $conn->{busy} = 0;
            $self->_next($conn);
        }
    );
}

sub _control_call ($self, $what, $verb, $in, $query) {
    if ($what eq 'reset') {
        my %only = map { $_ => 1 } @{$in->{what} // [qw(faults received counters state)]};
        $self->faults->clear     if $only{faults};
        $self->received->clear   if $only{received};
        $self->reset_counters    if $only{counters};
        $self->api->reset        if $only{state};
        return {ok => 1};
    }
    if ($what eq 'faults') {
        if    ($verb eq 'POST')   { $self->faults->add(ref $in eq 'ARRAY' ? @$in : $in) }
        elsif ($verb eq 'DELETE') { $self->faults->clear }
        return {faults => $self->faults->list};
    }
    if ($what eq 'release') {
        my @held = grep { !$_->[0]{gone} } @{delete $self->{held} // []};
        $_->[1]->() for @held;
        return {released => scalar @held};
    }
    return {%{$self->{counters}}, dropped => $self->received->dropped} if $what eq 'counters';
    return $self->received->list($query, $self->api)                 if $what eq 'received';
    return $self->api->control($what, $verb, $in, $query);
}

1;
