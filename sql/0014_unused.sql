-- What nothing has called since forgetting learnt to wait without holding up anybody
-- (study.writers_left).
DROP FUNCTION study.await_writers(regclass[], interval);
