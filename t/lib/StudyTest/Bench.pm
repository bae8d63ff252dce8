package StudyTest::Bench;

# What benchmarks share: CPU time and memory of processes as the kernel accounts them,
# medians with their spread, tables, and build/bench/NAME.json.
#
# Machines are shared and noisy: figures worth quoting are CPU time and ratios between
# candidates that were measured in turn in one run, never a wall-clock time alone.

use strict;
use warnings;

use Carp qw(croak);
use Exporter qw(import);
use File::Copy qw(copy);
use File::Path qw(make_path);
use JSON::PP ();
use List::Util qw(max min);
use POSIX ();

use StudyTest::Proc qw(root_dir run_limited slurp spew);

our @EXPORT_OK = qw(cpu_seconds machine median npm_program options proportional resident save send_events spread table);

# CPU seconds, user and system, that the processes' threads have used, to the nanosecond that the
# scheduler counts in; /proc/PID/stat has ticks of 10 ms. What is gone counts nothing.
sub cpu_seconds {
    my $ns = 0;
    for my $pid (@_) {
        $ns += (split ' ', eval { slurp($_) } // '0')[0] for glob "/proc/$pid/task/*/schedstat";
    }
    return $ns / 1e9;
}

# Resident memory, in KiB.
sub resident {
    my ($pid) = @_;
    return slurp("/proc/$pid/status") =~ /^VmRSS:\s+(\d+) kB/m ? $1 : 0;
}

# Proportional set size of processes together (a page that three share counts a third each), in KiB.
sub proportional {
    my $sum = 0;
    for my $pid (@_) {
        $sum += $1 if slurp("/proc/$pid/smaps_rollup") =~ /^Pss:\s+(\d+) kB/m;
    }
    return $sum;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    croak 'median of nothing' if !@sorted;
    my $middle = int(@sorted / 2);
    return @sorted % 2 ? $sorted[$middle] : ($sorted[ $middle - 1 ] + $sorted[$middle]) / 2;
}

# "12.3 (11.9-13.0)"
sub spread {
    my ($format, @values) = @_;
    return sprintf "$format ($format-$format)", median(@values), min(@values), max(@values);
}

# The machine and its settings, for the head of a table.
sub machine {
    my $cpuinfo = slurp('/proc/cpuinfo');
    my ($model) = $cpuinfo =~ /^model name\s*:\s*(.*)$/m;
    my $cores = () = $cpuinfo =~ /^processor\s*:/mg;
    return sprintf '%s, %d cores, Linux %s', $model // 'unknown CPU', $cores, (POSIX::uname())[2];
}

# rows: [ [ cells ], ... ], the first one the head.
sub table {
    my (@rows) = @_;

    my @width;
    for my $row (@rows) {
        for my $i (0 .. $#$row) {
            $width[$i] = max($width[$i] // 0, length $row->[$i]);
        }
    }
    my $out = '';
    for my $n (0 .. $#rows) {
        $out .= '| ' . join(' | ', map { sprintf "%-$width[$_]s", $rows[$n][$_] // '' } 0 .. $#width) . " |\n";
        $out .= '|' . join('|', map { '-' x ($_ + 2) } @width) . "|\n" if $n == 0;
    }
    return $out;
}

# NAME=VALUE words of the command line into the hash of defaults; dies on any other.
sub options {
    my ($defaults, @words) = @_;

    my %got = %$defaults;
    while (@words) {
        my $word = shift @words;
        my ($name, $value) = $word =~ /^--([a-z-]+)(?:=(.*))?$/s;
        croak "unknown option $word; there are: " . join(' ', map { "--$_" } sort keys %got)
            if !defined $name || !exists $got{$name};
        $got{$name} = $value // shift(@words) // croak "$word wants a value";
    }
    return %got;
}

sub save {
    my ($name, $data) = @_;

    my $dir = root_dir() . '/build/bench';
    make_path($dir);
    spew("$dir/$name.json", JSON::PP->new->canonical->pretty->encode($data));
    print "\nWritten: build/bench/$name.json\n";
    return;
}

# A program of npm's world that a candidate is made of: FROM has its package.json, its lock
# file and the program itself; the packages go to build/bench/NAME, which is returned.
sub npm_program {
    my ($name, $from) = @_;

    my $home = root_dir() . "/build/bench/$name";
    make_path($home);
    for my $file (glob "$from/package.json $from/package-lock.json $from/*.mjs") {
        copy($file, $home) or croak "$file: $!";
    }
    if (!-d "$home/node_modules") {
        my ($status, $out) = run_limited([ qw(npm ci --omit=dev --ignore-scripts --no-audit --no-fund) ],
            dir => $home, limit => 300);
        croak "npm ci: $out" if $status;
    }
    return $home;
}

# Runs the sender with the given arguments; its report as a hash.
sub send_events {
    my ($limit, @arguments) = @_;

    my ($status, $out) = run_limited([ root_dir() . '/build/bench/sender', @arguments ], limit => $limit);
    my ($json) = $out =~ /(\{.*\})\s*\z/s;
    croak "the sender failed (status $status):\n$out" if !defined $json;
    return JSON::PP->new->decode($json);
}

1;
