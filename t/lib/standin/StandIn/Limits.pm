package StandIn::Limits;

# Limits, of two kinds: the token bucket by which a stand-in keeps a vendor's
# rate limits, and the process's own limit on open files.

use Mojo::Base -strict, -signatures;

use Time::HiRes ();

# A thousand calls held open need more than the usual 1,024 descriptors.  Only a
# shell can raise the soft limit without another library: run again through one.
sub raise_files () {
    return if $ENV{STANDIN_FILES_RAISED}++;
    exec '/bin/sh', '-c', 'ulimit -S -n "$(ulimit -H -n)" 2>/dev/null; exec "$@"', 'sh', $^X, $0, @main::ARGV_COPY;
}

BEGIN { @main::ARGV_COPY = @ARGV }

# Takes one from the bucket: 0, or the seconds until there is one again.
sub take ($buckets, $key, $capacity, $per_second) {
    my $now    = Time::HiRes::time();
    my $bucket = $buckets->{$key} //= {left => $capacity, at => $now};
    my $left   = $bucket->{left} + ($now - $bucket->{at}) * $per_second;
    $left = $capacity if $left > $capacity;
    @$bucket{qw(left at)} = ($left, $now);
    if ($left >= 1) {
        $bucket->{left} -= 1;
        return 0;
    }
    return (1 - $left) / $per_second;
}

1;
