#!/usr/bin/perl

# The reference page of the module and the code agree: every directive of the command
# table has its section, with the contexts and the number of parameters that the code
# takes and the default that the code merges; and there is no section of anything else.
# Likewise the outcomes and names of the metrics.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;

use StudyTest::Proc qw(root_dir slurp);

my $root = root_dir() . '/ngx_study_module';
my $page = slurp("$root/README.md");
my $code = join '', map { slurp($_) } glob "$root/*.c";

# { NGX_HTTP_...|NGX_CONF_... } of each ngx_command_t
my %command;
while ($code =~ /\{ ngx_string\("(study_\w+)"\),\s*([A-Z0-9_|]+),/g) {
    $command{$1} = $2;
}
cmp_ok(scalar keys %command, '>=', 23, 'the command table was found');

my %section;
while ($page =~ /^### (study_\w+)\n(.*?)(?=^#|\z)/gms) {
    ok(!exists $section{$1}, "$1: one section");
    $section{$1} = $2;
}

for my $name (sort keys %command) {
    my $text = $section{$name};
    ok(defined $text, "$name: has a section") or next;

    my %field = $text =~ /^\| (Syntax|Default|Context|Since) \| (.*?) \|$/mg;
    is(join(' ', sort keys %field), 'Context Default Since Syntax', "$name: syntax, default, context, since");
    like($field{Syntax}, qr/^`$name\b/, "$name: the syntax is its own");

    my ($context, $args) = @{ contexts($command{$name}) };
    is($field{Context}, $context, "$name: the contexts of the code");
    my $parameters = $field{Syntax} =~ /> \.\.\.;/ ? 'many' : $field{Syntax} =~ /<| on \\\| off;/ ? 'one' : 'none';
    is($parameters, $args, "$name: parameters as the code takes them");
    my $words = $text =~ s/^\|.*\n//mgr;
    like($words, qr/\w.*\w/s, "$name: says what it means");
}
for my $name (sort keys %section) {
    ok($command{$name}, "$name: is a directive");
}

sub contexts {
    my ($flags) = @_;
    my $any = $flags =~ /NGX_HTTP_STUDY_ANY/;
    my @context = ($any || $flags =~ /HTTP_MAIN_CONF/ ? '`http`' : (), $any ? '`server`' : (),
        $any || $flags =~ /LOC_CONF/ ? '`location`' : ());
    my $args = $flags =~ /CONF_NOARGS/ ? 'none' : $flags =~ /1MORE/ ? 'many' : 'one';
    return [ join(', ', @context), $args ];
}

# defaults, as they are merged
my %merged = (
    study_redis_db => '0', study_redis_connect_timeout => '500ms', study_redis_timeout => '1500ms',
    study_redis_max_pending => '8m', study_redis_tls => 'off', study_redis_tls_verify => 'on',
    study_key_prefix => 'study', study_queue_limit => '1000000', study_timestamp_tolerance => '5m',
    study_metrics_zone => '1m',
);
my %in_code = (
    'conf->db, prev->db, 0' => 1, 'conf->connect_timeout, prev->connect_timeout, 500' => 1,
    'conf->timeout, prev->timeout, 1500' => 1, 'conf->max_pending, prev->max_pending, 8 * 1024 * 1024' => 1,
    'conf->tls, prev->tls, 0' => 1, 'conf->tls_verify, prev->tls_verify, 1' => 1,
    'conf->key_prefix, prev->key_prefix, "study"' => 1, 'conf->queue_limit, prev->queue_limit, 1000000' => 1,
    'conf->tolerance, prev->tolerance, 300' => 1, 'smcf->zone_size, 1024 * 1024' => 1,
);
my $flat = $code =~ s/\s+/ /gr;
ok(index($flat, $_) >= 0, "merged: $_") for sort keys %in_code;
for my $name (sort keys %command) {
    my ($default) = ($section{$name} // '') =~ /^\| Default \| (.*?) \|$/m;
    is($default, defined $merged{$name} ? "`$name $merged{$name};`" : '-', "$name: the default");
}

# metrics
my ($outcomes) = $code =~ /ngx_http_study_outcomes\[\] = \{(.*?)\};/s;
my @outcomes = $outcomes =~ /"(\w+)"/g;
cmp_ok(scalar @outcomes, '>', 20, 'the outcomes were found');
ok($page =~ /^\| `\Q$_\E` \|/m, "outcome $_: in the page") for @outcomes;
my %metric = map { $_ => 1 } $code =~ /"(study_nginx_\w+)",/g;
cmp_ok(scalar keys %metric, '>=', 10, 'the metrics were found');
ok($page =~ /^\| `\Q$_\E/m, "metric $_: in the page") for sort keys %metric;

done_testing();
