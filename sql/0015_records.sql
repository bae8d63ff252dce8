-- What counts as a record of study, by what its readers see of it. A message says something when a
-- word of it is there to be read; a reply, which is often a thank-you, from ten characters on: those
-- of a mention or an emoji are not its own. A link or a file is enough in both. (The function of text
-- and files alone, which took every message for a reply and "<@U024BE7LH> ok" for a long one, is no
-- longer called.)
CREATE FUNCTION study.is_record(text text, files text[], thread_ts text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN cardinality(files) > 0
    OR octet_length(text) > 200 -- a dozen mentions are no concern, and this is asked of every message
    OR char_length(CASE WHEN text LIKE '%<%' OR text LIKE '%:%'
                        THEN btrim(regexp_replace(text, '<[@#!][^>]*>|:[a-z+-][a-z0-9_+-]*:', '', 'g'))
                        ELSE btrim(text) END) >= CASE WHEN thread_ts IS NULL THEN 1 ELSE 10 END
    OR text ~* 'https?://';
