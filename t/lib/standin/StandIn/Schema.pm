package StandIn::Schema;

# A document for a JSON schema, made from a request's own records: texts quote
# their first words, in the language they were written in, and numbers that cite
# are the records' numbers.  Nothing is random, so a test knows what comes.

use Mojo::Base -strict, -signatures;
use utf8;

use Mojo::JSON qw(from_json true false);

my $MAX_DEPTH = 20;
my $HOSTILE   = '<!channel> <@U0EVIL> <https://evil.example/|click> *x* & https://evil.example/steal';

# What a text says about a record, by where in the document it stands: Korean
# for a Korean record, else English.  The last one is for whatever else there is.
my @PHRASES = (
    [qr/next|try|todo|plan|suggest|tip/, '다음에는 이어서 살펴보세요: “%s”', 'Take this one step further: “%s”'],
    [qr/well|praise|good|strength/,      '꾸준히 남긴 기록이 좋습니다: “%s”', 'Well noted: “%s”'],
    [qr/stud|learn|topic|record|note/,   '이런 공부를 하셨어요: “%s”',         'You studied: “%s”'],
    [qr//,                               '기록: “%s”',                         'From the records: “%s”'],
);

# What the caller may have put to the model, found by shape: JSON objects with an
# id or number and a text, <record id="..">..</record>, numbered lines, and where
# there is none of that, plain lines.
sub records (@texts) {
    my @out;
    for my $text (@texts) {
        my $id = qr/\b(?:id|n|no|number|ref)="?([\w.-]+)"?/;
        while ($text =~ m{<(record|message|note|entry)\b[^<>]*?$id[^<>]*>\s*(.*?)\s*</\1>}sg) {
            push @out, {id => $2, text => $3};
        }
        next if @out;
        push @out, _json_records($text);
        next if @out;
        push @out, {id => $1, text => $2} while $text =~ /^\s*(?:\[|#|\()?(\w*\d+)[\]\).:]+\s+(\S.*)$/mg;
    }
    return \@out if @out;
    my $n = 0;
    return [map { {id => ++$n, text => $_} } grep {/\S/} map { split /\n/ } @texts];
}

sub _json_records ($text) {
    my @out;
    for my $piece ($text, split /\n/, $text) {
        next if $piece !~ /^\s*[\[{]/;
        my $value = eval { from_json($piece) } // next;
        $value = (grep { ref eq 'ARRAY' } values %$value)[0] // [$value] if ref $value eq 'HASH';
        for (grep { ref eq 'HASH' } @$value) {
            my ($id)   = grep {defined} @$_{qw(id n no number ref index)};
            my ($said) = grep {defined} @$_{qw(text content message body)};
            push @out, {id => $id, text => $said} if defined $id && defined $said;
        }
        last if @out && $piece eq $text;
    }
    return @out;
}

sub first_words ($text, $n = 6) {
    my @words = split ' ', $text, $n + 1;
    return join ' ', @words[0 .. ($n < @words ? $n : scalar @words) - 1];
}

sub generate ($schema, %how) {
    my $self = {root => $schema, at => 0, %how};
    return _value($self, $schema, '', 0);
}

# $name: the members that led here, as a path.
sub _value ($self, $schema, $name, $depth) {
    return undef if ref $schema ne 'HASH' || $depth > $MAX_DEPTH;
    $schema = _resolve($self, $schema);
    return $schema->{const}   if exists $schema->{const};
    return $schema->{enum}[0] if ref $schema->{enum} eq 'ARRAY';

    my $types = $schema->{type} // (_is_object($schema) ? 'object' : 'string');
    my @types = ref $types ? @$types : $types;
    my ($type) = ((grep { $_ ne 'null' } @types), 'null');
    return _object($self, $schema, $name, $depth) if $type eq 'object';
    return _array($self, $schema, $name, $depth)  if $type eq 'array';
    return _number($self, $schema, $name, $type)  if $type =~ /^(?:integer|number)$/;
    return true                                   if $type eq 'boolean';
    return _string($self, $schema, $name)         if $type eq 'string';
    return undef;
}

sub _is_object ($schema) { return exists $schema->{properties} }

# Follows $ref, takes the first alternative that is not null, merges allOf.
sub _resolve ($self, $schema) {
    for (1 .. $MAX_DEPTH) {
        if (my $ref = $schema->{'$ref'}) {
            my $to = $self->{root};
            for (split m{/}, $ref =~ s/^#\/?//r) {
                my $key = s/~1/\//gr =~ s/~0/~/gr;
                $to = ref $to eq 'HASH' ? $to->{$key} : undef;
            }
            return {type => 'null'} if ref $to ne 'HASH';
            $schema = $to;
        }
        elsif (my $any = $schema->{anyOf} // $schema->{oneOf}) {
            ($schema) = ((grep { ($_->{type} // '') ne 'null' } @$any), {type => 'null'});
        }
        elsif (my $all = $schema->{allOf}) {
            my %merged = map {%$_} @$all;
            $merged{properties} = {map { %{$_->{properties} // {}} } @$all};
            $merged{required}   = [map { @{$_->{required} // []} } @$all];
            $schema = \%merged;
        }
        else {
            last;
        }
    }
    return $schema;
}

sub _object ($self, $schema, $name, $depth) {
    my $properties = $schema->{properties} // {};
    return {map { $_ => _value($self, $properties->{$_}, "$name/$_", $depth + 1) } sort keys %$properties};
}

# Names come again with every request; what they stand for is looked up once.
sub _cites ($name) {
    state %known;
    %known = () if keys %known > 1000;
    return $known{$name} //= $name =~ m{(?:cit|source|evidence|record|ref|ids?$|number)[^/]*$}i ? 1 : 0;
}

sub _phrase ($name, $text) {
    state %known;
    %known = () if keys %known > 1000;
    my $phrase = $known{$name} //= (grep { $name =~ $_->[0] } @PHRASES)[0];
    return $phrase->[$text =~ /[\x{ac00}-\x{d7a3}]/ ? 1 : 2];
}

# Each item is about one record, the next: what it quotes and cites is the same.
sub _array ($self, $schema, $name, $depth) {
    my $item = _resolve($self, ref $schema->{items} eq 'HASH' ? $schema->{items} : {type => 'string'});
    my $want = $self->{about} ? 1 : @{$self->{records}} || 1;
    $want = 5 if $want > 5;
    $want = $schema->{maxItems} if defined $schema->{maxItems} && $want > $schema->{maxItems};
    $want = $schema->{minItems} if defined $schema->{minItems} && $want < $schema->{minItems};
    my @out;
    for (1 .. $want) {
        local $self->{about} = $self->{about} // _next_record($self);
        push @out, _value($self, $item, $name, $depth + 1);
    }
    return \@out;
}

sub _next_record ($self) {
    return $self->{about} if $self->{about};
    my $records = $self->{records};
    return {id => 1, text => 'nothing'} if !@$records;
    return $records->[$self->{at}++ % @$records];
}

sub _number ($self, $schema, $name, $type) {
    my $n = 1;
    if (_cites($name)) {
        my $id = _next_record($self)->{id};
        $n = $self->{wrong_ids} ? 999_999 : $id =~ /(\d+)/ ? $1 + 0 : 1;
        return $n;
    }
    my $low  = $schema->{minimum} // (defined $schema->{exclusiveMinimum} ? $schema->{exclusiveMinimum} + 1 : undef);
    my $high = $schema->{maximum} // (defined $schema->{exclusiveMaximum} ? $schema->{exclusiveMaximum} - 1 : undef);
    $n = $low  if defined $low  && $n < $low;
    $n = $high if defined $high && $n > $high;
    return $type eq 'integer' ? int $n : $n;
}

my %FORMAT = (
    date => '2026-01-02', 'date-time' => '2026-01-02T03:04:05Z', time => '03:04:05Z', duration => 'PT25M',
    email => 'member@example.com', uri => 'https://example.com/', uuid => '00000000-0000-4000-8000-000000000000',
);

sub _string ($self, $schema, $name) {
    return $FORMAT{$schema->{format}} if defined $schema->{format} && $FORMAT{$schema->{format}};
    my $record = _next_record($self);
    return $self->{wrong_ids} ? 'r999999' : "$record->{id}" if _cites($name);
    my $text = sprintf _phrase($name, $record->{text}), first_words($record->{text}, 8);
    $text .= " $HOSTILE" if $self->{hostile};
    $text .= ' and so on' while length $text < ($schema->{minLength} // 0);
    return substr $text, 0, $schema->{maxLength} // length $text;
}

# What OpenAI asks of a strict schema: undef, or its complaint.
sub strict_error ($schema, $path) {
    return 'schema must be an object' if ref $schema ne 'HASH';
    return 'the root must be of type object' if !@$path && ($schema->{type} // '') ne 'object';
    my $at = '(' . (join ', ', map {"'$_'"} @$path) . ')';
    if (_is_object($schema)) {
        my %required = map { $_ => 1 } @{$schema->{required} // []};
        return "In context=$at, 'additionalProperties' is required to be supplied and to be false."
            if !exists $schema->{additionalProperties} || $schema->{additionalProperties};
        for my $key (sort keys %{$schema->{properties}}) {
            return "In context=$at, 'required' is required to include every key in properties. Missing '$key'."
                if !$required{$key};
            my $error = strict_error($schema->{properties}{$key}, [@$path, 'properties', $key]);
            return $error if $error;
        }
    }
    return strict_error($schema->{items}, [@$path, 'items']) if ref $schema->{items} eq 'HASH';
    return undef;
}

1;
