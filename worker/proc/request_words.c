/* Both languages side by side, so that a change to one is seen beside the other. */
#include "proc/request_words.h"

static const struct request_words korean = {
    .help = "*Study Tracker 명령어*\n"
            "• `/study today` 오늘 기록한 것을 보여 드려요. (오늘)\n"
            "• `/study on` · `/study off` 돌아보기 글을 받거나 그만 받아요. (켜기 · 끄기)\n"
            "• `/study lang ko` · `/study lang en` 언어를 바꿔요. (언어)\n"
            "• `/study time 08:30` 돌아보기 글을 받을 시각을 정해요. `/study time default` 로 "
            "되돌려요. (시간)\n"
            "• `/study export` 저장된 내 기록을 달라고 요청해요. (내보내기)\n"
            "• `/study forget` 저장된 내 기록을 모두 지워요. 먼저 한 번 더 여쭤봐요. (삭제)\n"
            "• `/study help` 이 도움말이에요. (도움말)",
    .settings_on = "지금은 돌아보기 글을 받고 계세요.",
    .settings_off = "지금은 돌아보기 글을 받지 않으세요.",
    .settings_time = "받는 시각: {}",
    .settings_any_time = "받는 시각: 따로 정하지 않으셨어요.",
    .not_understood = "무슨 말씀인지 알아듣지 못했어요. 이렇게 써 주세요.",
    .refused = "죄송해요, Study Tracker는 이 워크스페이스의 멤버만 쓸 수 있어요. 남기신 글도 "
               "저장하지 않아요.",
    .today_head = "*{}* · 오늘 기록 {}개를 남기셨어요.",
    .today_none = "*{}* · 오늘은 아직 기록이 없어요. 제가 있는 채널에 배운 것을 남겨 보세요.",
    .today_more = "이 밖에 {}개가 더 있어요.",
    .today_streak = "{}일째 이어서 기록하고 계세요.",
    .reply = "답글",
    .view = "기록 보기",
    .on = "돌아보기 글을 켰어요. 기록을 남기시면 개인 메시지로 보내 드릴게요.",
    .on_first = "첫 글을 보내기 전에, 무엇을 어떻게 다루는지 먼저 개인 메시지로 알려 드려요.",
    .on_agreed =
        "기록을 AI 모델에 보내는 것에 동의하신 것으로 적어 두었어요. 언제든 `/study off` 로 "
        "거두실 수 있어요.",
    .off = "돌아보기 글을 껐어요. 이제 기록을 AI 모델에 보내지 않아요. 저장된 기록은 그대로 있고, "
           "`/study forget` 으로 지우실 수 있어요.",
    .language_set = "앞으로 한국어로 말씀드릴게요.",
    .language_usage = "`/study lang ko` 또는 `/study lang en` 이라고 써 주세요.",
    .time_set = "돌아보기 글을 {}에 보내 드릴게요.",
    .time_quiet = "다만 {}부터 {}까지는 메시지를 보내지 않아서, {}에 받으시게 돼요.",
    .time_reset = "돌아보기 글을 원래 정해진 시각에 보내 드릴게요.",
    .time_usage = "`/study time 08:30` 처럼 24시간제로 써 주세요. 되돌리려면 `/study time default` "
                  "예요.",
    .export_asked =
        "요청을 적어 두고 관리하는 분께 알렸어요. 저장된 기록 전부를 파일로 만들어 직접 "
        "전해 드릴 거예요. 지금 메시지 {}개와 돌아보기 글 {}개가 있어요.",
    .export_again = "이미 요청하셨어요. 관리하는 분이 파일을 전해 드릴 거예요. 지금 메시지 {}개와 "
                    "돌아보기 글 {}개가 있어요.",
    .forget_ask = "저장된 기록을 모두 지울까요? 메시지 {}개와 돌아보기 글 {}개가 있어요.",
    .forget_warn = "지우면 되돌릴 수 없어요. 여기에 저장한 것만 지워지고, Slack에 쓰신 글은 그대로 "
                   "남아요.",
    .forget_yes = "모두 지우기",
    .forget_ever = "지우고 앞으로도 저장하지 않기",
    .forget_no = "그대로 두기",
    .forgotten =
        "저장된 기록을 지우고 있어요. 곧 모두 사라져요. 앞으로 채널에 쓰시는 글은 새로 저장돼요.",
    .forgotten_ever = "저장된 기록을 지우고 있어요. 곧 모두 사라지고, 앞으로 쓰시는 글도 저장하지 "
                      "않아요. 다시 시작하려면 `/study on` 이라고 써 주세요.",
    .not_recorded = "지금은 아무것도 저장하지 않고 있어요. 다시 시작하려면 `/study on` 이라고 써 "
                    "주세요.",
    .kept = "그대로 두었어요. 아무것도 지우지 않았어요.",
    .agreed = "고마워요! 동의하신 것으로 적어 두었어요. 언제든 `/study off` 로 거두실 수 있어요.",
    .helped = "알려 주셔서 고마워요! 도움이 되었다니 기뻐요.",
    .wrong = "알려 주셔서 고마워요. 틀린 내용이 있었다니 죄송해요. 더 나아지는 데 쓸게요.",
    .feedback_gone = "그 돌아보기 글은 이제 여기에 없어요.",
    .fallback = "Study Tracker의 답이에요.",
};

static const struct request_words english = {
    .help = "*Study Tracker's commands*\n"
            "• `/study today` shows what you recorded today.\n"
            "• `/study on` · `/study off` you get the look back on your notes, or do not.\n"
            "• `/study lang ko` · `/study lang en` changes the language.\n"
            "• `/study time 08:30` when to send it; `/study time default` for the usual time.\n"
            "• `/study export` asks for all that is kept of you.\n"
            "• `/study forget` deletes all that is kept of you, after asking once more.\n"
            "• `/study help` is this.",
    .settings_on = "You get a look back on your notes at present.",
    .settings_off = "You get no look back on your notes at present.",
    .settings_time = "Sent at: {}",
    .settings_any_time = "Sent at: the usual time.",
    .not_understood = "That I did not understand. Here is what I know.",
    .refused = "Sorry, Study Tracker is for members of this workspace only. What you write is not "
               "stored either.",
    .today_head = "*{}* · notes you left today: {}.",
    .today_none = "*{}* · no notes yet today. Write what you learn in a channel that I am in.",
    .today_more = "And {} more.",
    .today_streak = "Days in a row with notes: {}.",
    .reply = "reply",
    .view = "note",
    .on = "The look back is on. Leave notes, and it comes to you as a direct message.",
    .on_first = "Before the first one you will get a direct message that says what happens with "
                "what you write.",
    .on_agreed = "I have noted that you agree to your notes being sent to an AI model. `/study "
                 "off` takes it back at any time.",
    .off = "The look back is off, and no notes of yours are sent to an AI model any more. What is "
           "stored stays; `/study forget` deletes it.",
    .language_set = "I will speak English to you from now on.",
    .language_usage = "Write `/study lang ko` or `/study lang en`.",
    .time_set = "The look back will be sent at {}.",
    .time_quiet = "From {} to {}, however, no messages are sent, so it will reach you at {}.",
    .time_reset = "The look back will be sent at the usual time.",
    .time_usage = "Write the time as in `/study time 08:30`, of 24 hours; `/study time default` "
                  "goes back to the usual one.",
    .export_asked = "Your request is noted, and whoever runs Study Tracker here is told. They will "
                    "hand you a file with all of it. Kept at present: messages {}, looks back "
                    "{}.",
    .export_again = "You have asked already; whoever runs Study Tracker here will hand you the "
                    "file. Kept at present: messages {}, looks back {}.",
    .forget_ask = "Delete all that is kept of you? There are messages: {}, looks back: {}.",
    .forget_warn = "This cannot be undone. Only what is stored here is deleted; what you wrote in "
                   "Slack stays there.",
    .forget_yes = "Delete all of it",
    .forget_ever = "Delete it, and store no more",
    .forget_no = "Keep it",
    .forgotten = "What was stored of you is being deleted and will be gone in a moment. What you "
                 "write in the channels from now on is stored anew.",
    .forgotten_ever = "What was stored of you is being deleted and will be gone in a moment, and "
                      "nothing that you write will be stored any more. `/study on` begins again.",
    .not_recorded = "Nothing of yours is stored at present. `/study on` begins again.",
    .kept = "Nothing was deleted.",
    .agreed = "Thank you! I have noted that you agree. `/study off` takes it back at any time.",
    .helped = "Thank you for telling me! I am glad that it helped.",
    .wrong = "Thank you for telling me. I am sorry that it was wrong; this helps to do better.",
    .feedback_gone = "That look back is not kept here any more.",
    .fallback = "Study Tracker answers.",
};

const struct request_words *request_words_of(bool is_english)
{
    return is_english ? &english : &korean;
}
