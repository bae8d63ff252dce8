package StudyTest::Day;

# A day in two study groups, as the events that Slack would send of it: one workspace
# writes in Korean, one in English; an edit, a deletion, replies in a thread, a repeat by Slack,
# a link that unfurls, a bot, someone who joins, and a direct message that is nobody
# else's business. All of it is made up.
#
#   my $day = StudyTest::Day->new(languages => [ 'ko', 'en' ]);
#   $day->events      [ { what, event, retry } ], in the order they are sent
#   $day->rows        { "channel ts" => { user, text, deleted } } that must be stored
#   $day->members     ids of those who are owed a digest
#   $day->teams       { id => { language, bot, seed } }: the workspaces, for the chain
#
# team, bot: all of it in this one workspace, with that bot user; only => [ id, ... ]
# maps the members to those ids. Both are for a real workspace.

use strict;
use warnings;
use utf8;

use StudyTest::Event qw(
    bot_message channel_join deleted direct_message edited member_joined message reply unfurled
);

my %PEOPLE = (
    U0JIYOON => { language => 'ko', name => '김지윤', channel => 'C0STUDYKO', tz => 'Asia/Seoul' },
    U0MINJUN => { language => 'ko', name => '박민준', channel => 'C0STUDYKO', tz => 'Asia/Seoul' },
    U0SARAH  => { language => 'en', name => 'Sarah Lindqvist', channel => 'C0STUDYEN', tz => 'Europe/Stockholm' },
    U0DAVID  => { language => 'en', name => 'David Okafor', channel => 'C0STUDYEN', tz => 'Africa/Lagos' },
);

my %TEAMS = (
    ko => { id => 'T0STUDYKO', name => '공부 모임' },
    en => { id => 'T0STUDYEN', name => 'Study Group' },
);

my %CHANNELS = (C0STUDYKO => '공부-기록', C0STUDYEN => 'study-log');

# Minutes into the day, who, a name to refer to it, the text.
my @SAID = (
    [ 5, 'U0JIYOON', 'vm', '오늘은 운영체제 가상 메모리 장을 읽었습니다. 페이지 폴트가 났을 때 커널이 어떤 순서로 처리하는지 그림으로 정리했어요.' ],
    [ 12, 'U0SARAH', 'bayes', 'Finished chapter 4 of Statistical Rethinking. Quadratic approximation finally clicked: the posterior near its mode is close to a Gaussian, so we fit one to the curvature.' ],
    [ 31, 'U0MINJUN', 'index', 'PostgreSQL 인덱스 공부 1일차. B-tree가 정렬을 유지하는 방식을 보고 EXPLAIN ANALYZE로 인덱스 스캔과 순차 스캔의 차이를 비교했습니다.' ],
    [ 48, 'U0DAVID', 'rust', 'Rust ownership exercises 1 to 9 done. I now understand why a mutable borrow blocks every other borrow, and where the compiler ends a borrow early.' ],
    [ 95, 'U0JIYOON', 'tlb', 'TLB 미스와 페이지 폴트를 계속 헷갈렸는데, TLB 미스는 주소 변환 캐시에 없을 뿐 메모리에는 있을 수 있다는 점이 핵심이었습니다.' ],
    [ 110, 'U0SARAH', 'wrong', 'Notes for the wrong channel, please ignore: shopping list for the weekend trip and the train times.' ],
    [ 133, 'U0MINJUN', 'link', '참고한 글: <https://www.postgresql.org/docs/15/indexes-types.html> 해시 인덱스와 GIN의 용도 차이까지 읽었습니다.' ],
    [ 171, 'U0DAVID', 'life', 'Spent an hour on lifetimes. Wrote a small parser that borrows from its input, and it compiled without a single clone().' ],
    [ 205, 'U0JIYOON', 'oops', '잘못 올렸습니다. 회사 회의 메모라서 곧 지우겠습니다. 죄송합니다!' ],
    [ 260, 'U0MINJUN', 'mvcc', 'MVCC 정리: UPDATE는 새 버전을 만들고 예전 버전은 VACUUM이 정리한다. 그래서 오래 열린 트랜잭션이 테이블을 부풀린다.' ],
    [ 288, 'U0SARAH', 'mcmc', 'Ran my first MCMC chains. Two of four did not mix because my prior on sigma was far too wide; a half-normal prior fixed it.' ],
    [ 340, 'U0JIYOON', 'cow', 'fork() 이후의 copy-on-write를 실습했습니다. 자식이 쓰기 전까지 페이지가 공유되는 것을 /proc/self/smaps 에서 직접 확인!' ],
    [ 402, 'U0DAVID', 'err', 'Error handling: read about thiserror and the ? operator. Plan for tomorrow is async, starting with what a Future really is.' ],
);

sub new {
    my ($class, %opt) = @_;

    my %want = map { $_ => 1 } @{ $opt{languages} // [ 'ko', 'en' ] };
    my $self = bless {
        team => $opt{team},
        bot  => $opt{bot} // 'U0STUDYBOT',
        events => [], rows => {}, said => {},
    }, $class;

    my @people = sort grep { $want{ $PEOPLE{$_}{language} } } keys %PEOPLE;
    my @only = @{ $opt{only} // [] };
    $self->{id} = { map { $people[$_] => @only ? $only[ $_ % @only ] : $people[$_] } 0 .. $#people };

    # The day ended a little while ago.
    $self->{start} = int(time) - 450 * 60;
    $self->_tell;
    return $self;
}

sub _has { my ($self, $user) = @_; return exists $self->{id}{$user} }
sub _at { my ($self, $minute, $serial) = @_; return sprintf '%d.%06d', $self->{start} + $minute * 60, 100 + $serial }

sub _send {
    my ($self, $what, $event, %more) = @_;
    push @{ $self->{events} }, { what => $what, event => $event, %more };
    return $event;
}

sub _team_of { my ($self, $user) = @_; return $self->{team} // $TEAMS{ $PEOPLE{$user}{language} }{id} }
sub _common { my ($self, $user) = @_; return (team => $self->_team_of($user), bot => $self->{bot}) }

sub _row {
    my ($self, $event, %row) = @_;
    my $inner = $event->{event};
    $self->{rows}{"$inner->{channel} $inner->{ts}"} = { user => $inner->{user}, deleted => 0, %row };
    return;
}

sub _say {
    my ($self, $serial, $minute, $user, $name, $text) = @_;

    my $event = message(
        $self->_common($user), user => $self->{id}{$user}, channel => $PEOPLE{$user}{channel},
        ts => $self->_at($minute, $serial), text => $text,
    );
    $self->{said}{$name} = $event;
    $self->_row($event, text => $text);
    return $self->_send("$PEOPLE{$user}{name} writes", $event);
}

sub _edit {
    my ($self, $name, $minute, $text) = @_;

    my $first = $self->{said}{$name} // return;
    my $ts = $self->_at($minute, 500);
    $self->_send('an edit', edited($first, text => $text, edited_ts => $ts, event_ts => $ts));
    $self->_row($first, text => $text);
    return;
}

sub _delete {
    my ($self, $name, $minute) = @_;

    my $first = $self->{said}{$name} // return;
    $self->_send('a deletion', deleted($first, event_ts => $self->_at($minute, 600)));
    $self->_row($first, text => '', deleted => 1);
    return;
}

sub _reply {
    my ($self, $name, $minute, $user, $text) = @_;

    my $first = $self->{said}{$name};
    return if !$first || !$self->_has($user);
    my $event = reply($first, user => $self->{id}{$user}, ts => $self->_at($minute, 700), text => $text);
    $self->_row($event, text => $text);
    $self->_send("$PEOPLE{$user}{name} replies in a thread", $event);
    return;
}

# The same event once more, as Slack does when no answer reached it in time.
sub _repeat {
    my ($self, $name) = @_;

    my $first = $self->{said}{$name} // return;
    $self->_send('Slack repeats an event', $first, retry => [ 1, 'http_timeout' ]);
    return;
}

# One message under a second event id.
sub _again {
    my ($self, $name) = @_;

    my $first = $self->{said}{$name} // return;
    $self->_send('one message under two event ids', { %$first, event_id => $first->{event_id} . 'B' });
    return;
}

sub _tell {
    my ($self) = @_;

    for my $channel (sort keys %CHANNELS) {
        my ($one) = sort grep { $PEOPLE{$_}{channel} eq $channel } keys %{ $self->{id} };
        next if !$one;
        $self->_send('the bot is invited', member_joined($self->_common($one), user => $self->{bot}, channel => $channel,
            event_ts => $self->_at(0, 10)));
    }

    my $serial = 0;
    for my $line (@SAID) {
        my ($minute, $user, $name, $text) = @$line;
        $self->_say(++$serial, $minute, $user, $name, $text) if $self->_has($user);
        $self->_repeat($name) if $name eq 'tlb' || $name eq 'life';
    }

    $self->_edit('index', 140, 'PostgreSQL 인덱스 공부 1일차. B-tree가 정렬을 유지하는 방식을 보고, EXPLAIN (ANALYZE, BUFFERS)로 인덱스 스캔과 순차 스캔이 읽는 블록 수를 비교했습니다.');
    $self->_edit('rust', 150, 'Rust ownership exercises 1 to 12 done. I now understand why a mutable borrow blocks every other borrow, and where the compiler ends a borrow early.');
    $self->_delete('oops', 210);
    $self->_delete('wrong', 115);
    $self->_reply('vm', 220, 'U0MINJUN', '저도 같은 장을 읽고 있어요. 스왑 아웃된 페이지는 PTE에 스왑 엔트리가 남는다는 부분이 도움이 됐습니다.');
    $self->_reply('bayes', 230, 'U0DAVID', 'The grid approximation in the same chapter is worth coding by hand, it shows why it cannot scale to many parameters.');
    $self->_again('mvcc');
    $self->_again('mcmc');

    my ($first) = sort grep { $self->_has($_) } keys %PEOPLE;
    my $channel = $PEOPLE{$first}{channel};
    my $id = $self->{id}{$first};
    $self->_send('a link unfurls', unfurled($self->{said}{link}, event_ts => $self->_at(134, 800))) if $self->{said}{link};
    $self->_send('someone joins', channel_join($self->_common($first), user => $id, channel => $channel, ts => $self->_at(3, 900)));
    $self->_send('another bot posts', bot_message($self->_common($first), channel => $channel, ts => $self->_at(300, 901),
        text => 'Reminder: the reading group meets on Thursday.'));
    $self->_send('a direct message, which is not recorded', direct_message($self->_common($first), user => $id,
        ts => $self->_at(310, 902), text => 'PRIVATE: this must leave no row anywhere'));
    return;
}

sub events { return @{ $_[0]{events} } }
sub rows   { return $_[0]{rows} }

# Whoever has a message left is owed a digest.
sub members {
    my ($self) = @_;
    my %owed = map { $_->{user} => 1 } grep { !$_->{deleted} } values %{ $self->{rows} };
    my @ids = sort keys %owed;
    return @ids;      # "scalar" of a sort is undefined
}

sub name_of {
    my ($self, $id) = @_;
    my ($who) = grep { $self->{id}{$_} eq $id } sort keys %{ $self->{id} };
    return $who ? $PEOPLE{$who}{name} : $id;
}

sub language_of {
    my ($self, $id) = @_;
    my ($who) = grep { $self->{id}{$_} eq $id } sort keys %{ $self->{id} };
    return $who ? $PEOPLE{$who}{language} : undef;
}

sub channel_name { my ($self, $id) = @_; return $CHANNELS{$id} // $id }

sub teams {
    my ($self) = @_;

    my %teams;
    for my $user (sort keys %{ $self->{id} }) {
        my ($who, $id) = ($PEOPLE{$user}, $self->_team_of($user));
        my $team = $teams{$id} //= { language => $who->{language}, bot => $self->{bot}, seed => {
            name => $TEAMS{ $who->{language} }{name}, domain => lc $id, users => [], channels => [],
        } };
        push @{ $team->{seed}{users} }, {
            id => $self->{id}{$user}, name => lc substr($user, 2), real_name => $who->{name},
            tz => $who->{tz}, locale => $who->{language} eq 'ko' ? 'ko-KR' : 'en-US',
        };
        my $channel = { id => $who->{channel}, name => $CHANNELS{ $who->{channel} } };
        push @{ $team->{seed}{channels} }, $channel
            if !grep { $_->{id} eq $channel->{id} } @{ $team->{seed}{channels} };
    }
    return \%teams;
}

1;
