package StudyTest::Screen;

# What the demo prints: named steps with their time, a counter while something is
# waited for, and a Slack message as Slack shows it. Without a terminal there is no
# colour and no line is drawn over.

use strict;
use warnings;
use utf8;

use Time::HiRes qw(time);

sub new {
    my ($class, %opt) = @_;

    my $out = $opt{out} // \*STDOUT;
    binmode $out, ':encoding(UTF-8)';
    $out->autoflush(1);
    return bless { out => $out, tty => -t $out ? 1 : 0, from => time, steps => 0 }, $class;
}

sub _paint {
    my ($self, $code, $text) = @_;
    return $self->{tty} && !defined $ENV{NO_COLOR} ? "\e[${code}m$text\e[0m" : $text;
}

sub bold  { return $_[0]->_paint(1, $_[1]) }
sub dim   { return $_[0]->_paint(2, $_[1]) }
sub green { return $_[0]->_paint(32, $_[1]) }
sub red   { return $_[0]->_paint('1;31', $_[1]) }

sub line { my ($self, @text) = @_; print { $self->{out} } join('', @text) =~ s/ +\z//r, "\n"; return }

sub head { my ($self, $text) = @_; $self->line; $self->line($self->bold($text)); return }

sub seconds { my ($self) = @_; return time - $self->{from} }

# Runs CODE under a name; what it returns is said behind the name. While it runs, it
# may call the function it is given with a word on how far it is.
sub step {
    my ($self, $name, $code) = @_;

    my $label = sprintf '  %-24s', $name;
    my $from = time;
    my $last = '';
    my $said = 0;
    print { $self->{out} } $label if $self->{tty};

    my $progress = sub {
        my ($text) = @_;
        return if $text eq $last;
        if ($self->{tty}) {
            print { $self->{out} } "\r$label$text\e[K";
        }
        elsif (time - $said >= 1) {
            $self->line("$label... $text");
            $said = time;
        }
        $last = $text;
    };

    my $note = eval { $code->($progress) };
    if (my $why = $@) {
        print { $self->{out} } $self->{tty} ? "\r$label" : $label, $self->red('FAILED'), "\n";
        die $why;
    }
    $note = '' if !defined $note || ref $note;
    print { $self->{out} } $self->{tty} ? "\r$label" : $label,
        sprintf('%-48s', $note), $self->dim(sprintf '%6.1f s', time - $from),
        $self->{tty} ? "\e[K" : '', "\n";
    return;
}

# --- Slack's messages --------------------------------------------------------------

# One message of the Web API in a frame.
sub message {
    my ($self, $message, %name) = @_;

    my @lines = ref $message->{blocks} && @{ $message->{blocks} }
        ? map { $self->_block($_, %name) } @{ $message->{blocks} }
        : split /\n/, $self->_mrkdwn($message->{text} // '', %name);

    $self->line($self->dim('  │ '), $_) for map { _fold($_, 90) } @lines;
    return;
}

sub _block {
    my ($self, $block, %name) = @_;

    my $type = $block->{type} // '';
    my $text = sub { $self->_text($_[0], %name) };

    return ($self->bold($text->($block->{text})), '') if $type eq 'header';
    return $self->dim('─' x 30) if $type eq 'divider';
    return map { $self->dim($_) } map { split /\n/, $text->($_) } @{ $block->{elements} } if $type eq 'context';
    if ($type eq 'section') {
        return (
            ($block->{text} ? split(/\n/, $text->($block->{text})) : ()),
            (map { split /\n/, $text->($_) } @{ $block->{fields} // [] }), '',
        );
    }
    if ($type eq 'rich_text') {
        return map { $self->_rich($_, %name) } @{ $block->{elements} };
    }
    if ($type eq 'actions') {
        return join '  ', map { '[ ' . $text->($_->{text}) . ' ]' } @{ $block->{elements} };
    }
    return "($type)";
}

sub _text {
    my ($self, $object, %name) = @_;

    return '' if !ref $object;
    return $object->{text} // '' if ($object->{type} // '') eq 'plain_text';
    return $self->_mrkdwn($object->{text} // '', %name);
}

sub _mrkdwn {
    my ($self, $text, %name) = @_;

    $text =~ s/<@(\w+)>/'@' . ($name{user} ? $name{user}->($1) : $1)/ge;
    $text =~ s/<#(\w+)(?:\|([^>]*))?>/'#' . (length($2 \/\/ '') ? $2 : $name{channel} ? $name{channel}->($1) : $1)/ge;
    $text =~ s/<(https?:[^|>]+)\|([^>]*)>/$2/g;
    $text =~ s/<(https?:[^>]+)>/$1/g;
    $text =~ s/(?<!\w)\*([^*\n]+)\*(?!\w)/$self->bold($1)/ge;
    $text =~ s/(?<!\w)_([^_\n]+)_(?!\w)/$self->dim($1)/ge;
    $text =~ s/&lt;/</g;
    $text =~ s/&gt;/>/g;
    $text =~ s/&amp;/&/g;
    return $text;
}

sub _rich {
    my ($self, $element, %name) = @_;

    my $type = $element->{type} // '';
    if ($type eq 'rich_text_list') {
        return map { '  • ' . join '', $self->_rich($_, %name) } @{ $element->{elements} };
    }
    if ($element->{elements}) {
        return join '', map { $self->_rich($_, %name) } @{ $element->{elements} };
    }
    return '@' . $element->{user_id} if $type eq 'user';
    return $element->{text} // $element->{url} // '';
}

# Cells that a text takes: Korean letters take two.
sub width {
    my ($text) = @_;

    $text =~ s/\e\[[0-9;]*[mK]//g;
    my $wide = () = $text =~ /[\x{1100}-\x{115f}\x{2e80}-\x{a4cf}\x{ac00}-\x{d7a3}\x{f900}-\x{faff}\x{ff00}-\x{ff60}\x{1f300}-\x{1faff}]/g;
    return length($text) + $wide;
}

sub fit {
    my ($text, $cells) = @_;

    if (width($text) > $cells) {
        chop $text while length $text && width($text) > $cells - 1;
        $text .= '…';
    }
    return $text . ' ' x ($cells - width($text));
}

sub _fold {
    my ($text, $cells) = @_;

    return ('') if $text !~ /\S/;
    my ($indent) = $text =~ /^(\s*(?:[•\-]\s+)?)/;
    my $hang = ' ' x length $indent;
    my @out;
    my $line = '';
    for my $word (split /(?<=\S)\s+(?=\S)/, $text) {
        if (length $line && width("$line $word") > $cells) {
            push @out, $line;
            $line = $hang . $word;
        }
        else {
            $line = length $line ? "$line $word" : $word;
        }
    }
    return (@out, $line);
}

1;
