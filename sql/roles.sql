-- The cluster's roles, without login: grant them to the logins that the processes use, e.g.
--   CREATE ROLE "study-worker" LOGIN IN ROLE study_worker;
-- studyctl migrate runs this file when its own role may create roles; otherwise an administrator
-- runs it once. Safe to repeat.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['study_worker', 'study_ctl', 'study_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another run was faster
            END;
        END IF;
    END LOOP;
END
$$;
