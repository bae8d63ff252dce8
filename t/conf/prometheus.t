#!/usr/bin/perl

# The shipped Prometheus files and the Grafana dashboard: valid, speaking of metrics that
# exist, and alerts that fire when they should (alerts-test.yml).

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../lib";

use JSON::PP qw(decode_json encode_json);
use Test::More;

use StudyTest::Proc qw(root_dir run_limited scratch_dir slurp spew);

my $root = root_dir();
my $conf = "$root/conf/prometheus";
my $alerts = slurp("$conf/study-alerts.yml");
my $test = slurp("$Bin/alerts-test.yml");

# What the two programs have.
my %metric;
my $worker = slurp("$root/worker/base/metrics.c");
while ($worker =~ /\{"(study_worker_\w+)", (\w+), (\{[^}]*\})/g) {
    my ($name, $type, $labels) = ($1, $2, $3);
    $metric{ $name . ($type eq 'HISTOGRAM' ? $_ : '') } = { map { ($_ => 1) } 'instance', 'job', $labels =~ /"(\w+)"/g }
        for $type eq 'HISTOGRAM' ? qw(_bucket _sum _count) : ('');
}
my $module = slurp("$root/ngx_study_module/ngx_http_study_metrics.c");
$metric{$_} //= { map { ($_ => 1) } qw(instance job outcome server) } for $module =~ /\b(study_nginx_\w+)/g;
cmp_ok(scalar keys %metric, '>', 25, 'the metrics of both programs');

my $dashboard = decode_json(slurp("$root/conf/grafana/study-tracker.json"));
my @expr = map { $_->{expr} } map { @{ $_->{targets} // [] } } @{ $dashboard->{panels} };
cmp_ok(scalar @expr, '>', 20, 'the dashboard has panels');

for my $text ([ 'alerts', $alerts ], [ 'their test', $test ], [ 'dashboard', join "\n", @expr ]) {
    my ($name, $in) = @$text;
    my (%unknown, %label);
    while ($in =~ /\b(study_(?:worker|nginx)_\w+)(?:\{([^}]*)\})?/g) {
        my ($used, $labels) = ($1, $2 // '');
        if (!$metric{$used}) { $unknown{$used} = 1; next }
        $labels =~ s/"[^"]*"//g;
        $label{"$used {$_}"} = 1 for grep { !$metric{$used}{$_} } $labels =~ /(\w+)\s*[=!]/g;
    }
    is(join(' ', sort keys %unknown), '', "$name: every metric exists");
    is(join(' ', sort keys %label), '', '... with those labels');
}

my ($names) = $module =~ /ngx_http_study_outcomes\[\] = \{(.*?)\}/s;
my @outcomes = $names =~ /"(\w+)"/g;
for my $pattern ((join "\n", $alerts, @expr) =~ /outcome=~?"([^"]+)"/g) {
    for my $part (split /\|/, $pattern) {
        ok((grep { /^(?:$part)$/ } @outcomes), "nginx has an outcome '$part'");
    }
}

my @alerts = $alerts =~ /- alert: (\w+)/g;
my @untested = grep { $test !~ /\b$_\b/ } @alerts;
cmp_ok(scalar @untested, '<', @alerts / 3, 'most alerts have a test') or diag("not: @untested");

SKIP: {
    my ($promtool) = grep { -x } map { "$_/promtool" } split /:/, $ENV{PATH};
    skip 'no promtool', 3 if !$promtool;
    # JSON is YAML: the panels' expressions as rules, to have them parsed.
    my @rules = map { { record => "panel:$_", expr => $expr[$_] =~ s/\$__rate_interval/5m/gr } } 0 .. $#expr;
    my $panels = spew(scratch_dir('prometheus') . '/panels.yml', encode_json({ groups => [ { name => 'panels', rules => \@rules } ] }));
    for my $run ([ 'check', 'rules', $panels ], [ 'check', 'config', "$conf/prometheus.yml" ], [ 'test', 'rules', "$Bin/alerts-test.yml" ]) {
        my ($status, $said) = run_limited([ $promtool, @$run ], limit => 60);
        is($status, 0, "promtool @$run[0, 1]") or diag($said);
    }
}

done_testing;
