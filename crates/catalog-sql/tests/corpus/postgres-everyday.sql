--# One text a line, as developers, frameworks and tools send them. At most one in a hundred may ask.
SELECT 1
SELECT version()
SELECT current_database(), current_user, now()
SELECT * FROM users
SELECT * FROM users WHERE id = 5
SELECT id, name FROM users WHERE email = 'a@example.com' LIMIT 1
SELECT count(*) FROM orders WHERE created_at > now() - interval '7 days'
SELECT u.name, count(o.id) FROM users u LEFT JOIN orders o ON o.user_id = u.id GROUP BY u.name HAVING count(o.id) > 3 ORDER BY 2 DESC
SELECT DISTINCT ON (user_id) * FROM events ORDER BY user_id, created_at DESC
SELECT date_trunc('day', created_at) AS day, sum(total) FROM orders GROUP BY 1
SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY created_at) FROM orders
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM orders
SELECT sum(total) OVER w FROM orders WINDOW w AS (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
WITH recent AS (SELECT * FROM orders WHERE created_at > now() - interval '1 day') SELECT count(*) FROM recent
WITH RECURSIVE tree AS (SELECT id, parent_id FROM nodes WHERE id = 1 UNION ALL SELECT n.id, n.parent_id FROM nodes n JOIN tree t ON n.parent_id = t.id) SELECT * FROM tree
SELECT data->>'name', data #> '{a,b}', data ? 'key' FROM documents WHERE data @> '{"a": 1}'
SELECT jsonb_set(data, '{a}', '1'), jsonb_agg(x), json_build_object('a', 1) FROM documents
SELECT to_tsvector('english', body) @@ plainto_tsquery('cat') FROM posts
SELECT ts_rank(v, q) FROM posts, to_tsquery('a & b') q
SELECT array_agg(id ORDER BY id), string_agg(name, ', '), unnest(ARRAY[1,2]) FROM users
SELECT coalesce(a, b), nullif(a, 0), greatest(a, b), CASE WHEN a > 1 THEN 'x' ELSE 'y' END FROM t
SELECT extract(epoch FROM now()), age(now()), to_char(now(), 'YYYY-MM-DD')
SELECT substring(name FROM 1 FOR 3), trim(BOTH ' ' FROM name), position('a' IN name), overlay(name PLACING 'x' FROM 2) FROM users
SELECT * FROM generate_series(1, 10) g
SELECT gen_random_uuid(), random(), md5('x'), sha256('x')
SELECT uuid_generate_v4(), crypt('x', gen_salt('bf')), digest('x', 'sha256')
SELECT extensions.uuid_generate_v4()
SELECT similarity(name, 'bob'), name % 'bob', name <-> 'bob' FROM users
SELECT embedding <=> '[1,2,3]', cosine_distance(embedding, '[1,2]') FROM documents ORDER BY embedding <-> '[1,2,3]' LIMIT 5
SELECT ST_AsGeoJSON(geom), ST_Distance(a, b) FROM places WHERE ST_DWithin(geom, ST_MakePoint(1, 2)::geography, 100)
SELECT nextval('users_id_seq')
SELECT currval('users_id_seq'), lastval()
SELECT pg_advisory_lock(42)
SELECT pg_try_advisory_lock(2844268410)
SELECT pg_advisory_unlock(2844268410)
SELECT pg_size_pretty(pg_total_relation_size('users'))
SELECT pg_sleep(0.1)
SELECT * FROM pg_stat_activity
SELECT * FROM information_schema.tables WHERE table_schema = 'public'
SELECT c.relname, n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE pg_catalog.pg_table_is_visible(c.oid) AND c.relname OPERATOR(pg_catalog.~) '^(users)$' COLLATE pg_catalog.default
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid
SELECT t.typname, (information_schema._pg_expandarray(i.indkey)).n FROM pg_index i, pg_type t
SELECT set_config('app.current_user_id', '7', true)
SELECT set_config('app.current_user_id', $1, true)
SELECT pg_catalog.set_config('search_path', '', false)
SELECT * FROM users FOR UPDATE SKIP LOCKED LIMIT 1
SELECT * FROM users TABLESAMPLE SYSTEM (1)
SELECT * FROM a UNION SELECT * FROM b EXCEPT SELECT * FROM c
SELECT EXISTS (SELECT 1 FROM users WHERE id = $1)
SELECT * FROM users WHERE id = ANY($1)
SELECT * FROM users WHERE (a, b) IN ((1, 2), (3, 4))
SELECT * FROM users WHERE name ILIKE '%bob%' AND created_at BETWEEN '2024-01-01' AND '2025-01-01'
SELECT * FROM users ORDER BY name NULLS LAST OFFSET 10 LIMIT 10
SELECT * FROM users CROSS JOIN LATERAL (SELECT 1) x
SELECT * FROM jsonb_to_recordset('[{"a":1}]') AS x(a int)
SELECT * FROM JSON_TABLE('[1]', '$[*]' COLUMNS (a int PATH '$')) j
SELECT GROUPING(a), a, b FROM t GROUP BY ROLLUP (a, b)
SELECT count(*) FILTER (WHERE active) FROM users
SELECT currency, name, status FROM accounts
SELECT 'it''s', E'a\nb', $$dollar$$, U&'\0041'
VALUES (1, 'a'), (2, 'b')
TABLE users
SHOW server_version
SHOW ALL
SHOW transaction_isolation
EXPLAIN SELECT * FROM users
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM users WHERE id = 1
EXPLAIN DELETE FROM users
INSERT INTO users (name, email) VALUES ('Bob', 'bob@example.com')
INSERT INTO users (name) VALUES ($1), ($2) RETURNING id
INSERT INTO users DEFAULT VALUES
INSERT INTO archive SELECT * FROM orders WHERE created_at < '2020-01-01'
INSERT INTO users (id, name) VALUES (1, 'x') ON CONFLICT DO NOTHING
INSERT INTO users (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name
INSERT INTO schema_migrations (version) VALUES ('20240101000000')
INSERT INTO events (payload, at) VALUES ('{}'::jsonb, now())
UPDATE users SET name = 'Alice' WHERE id = 5
UPDATE users SET last_login = now() WHERE email = 'a@example.com'
UPDATE users SET name = $1, updated_at = $2 WHERE users.id = $3
UPDATE users SET name = 'x' WHERE id IN (1, 2, 3) RETURNING *
UPDATE users AS u SET name = 'x' WHERE u.id = 5
UPDATE orders SET status = 'paid' WHERE order_number = 'A-1' AND status = 'open'
UPDATE orders SET status = 'shipped' WHERE id = 7 AND user_id = 3
UPDATE notifications SET read_at = now() WHERE user_id = 3
UPDATE sessions SET data = $1 WHERE session_key = $2
UPDATE settings SET value = 'dark' WHERE key = 'theme'
UPDATE users SET plan = 'free' WHERE plan IS NULL
UPDATE counters SET n = n + 1 WHERE name = 'visits'
UPDATE "User" SET "updatedAt" = $1 WHERE "id" = $2
UPDATE public.django_session SET expire_date = '2024-01-01' WHERE session_key = 'abc'
DELETE FROM users WHERE id = 5
DELETE FROM sessions WHERE token = $1
DELETE FROM cart_items WHERE cart_id = 5 AND product_id = 9
DELETE FROM "Post" WHERE "id" IN ($1, $2)
DELETE FROM schema_migrations WHERE version = '20240101'
INSERT INTO users (id, name) SELECT * FROM unnest($1::int[], $2::text[]) ON CONFLICT (id) DO UPDATE SET name = excluded.name
INSERT INTO users (id, name) SELECT $1, $2 ON CONFLICT (id) DO UPDATE SET name = excluded.name
INSERT INTO users (id, name) SELECT id, name FROM incoming ON CONFLICT DO NOTHING
MERGE INTO users u USING incoming i ON u.id = i.id WHEN NOT MATCHED THEN INSERT (id, name) VALUES (i.id, i.name)
MERGE INTO users u USING (VALUES (1, 'x')) i (id, name) ON u.id = i.id WHEN MATCHED THEN UPDATE SET name = i.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (i.id, i.name)
BEGIN
BEGIN ISOLATION LEVEL SERIALIZABLE
START TRANSACTION READ ONLY
COMMIT
ROLLBACK
SAVEPOINT a
RELEASE SAVEPOINT a
ROLLBACK TO SAVEPOINT a
BEGIN; INSERT INTO users (name) VALUES ('x'); COMMIT
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ
SET statement_timeout = 5000
SET LOCAL lock_timeout = '5s'
SET timezone TO 'UTC'
SET TIME ZONE 'Europe/Berlin'
SET search_path TO public
SET search_path TO "$user", public
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED
SET client_min_messages TO warning
SET standard_conforming_strings = on
SET client_encoding = 'UTF8'
SET NAMES 'utf8'
SET intervalstyle = iso_8601
SET application_name = 'psql'
SET app.tenant = '5'
SET extra_float_digits = 3
SET datestyle = ISO, MDY
SET check_function_bodies = false
SET row_security = off
SET default_tablespace = ''
SET default_table_access_method = heap
SET xmloption = content
SET idle_in_transaction_session_timeout = 0
SET work_mem = '64MB'
SET CONSTRAINTS ALL DEFERRED
RESET statement_timeout
RESET ALL
DISCARD ALL
DEALLOCATE ALL
LISTEN jobs
UNLISTEN *
NOTIFY jobs, 'x'
SELECT pg_notify('jobs', 'x')
PREPARE p AS SELECT * FROM users WHERE id = $1
PREPARE p (int) AS SELECT $1; EXECUTE p(1); DEALLOCATE p
DECLARE c CURSOR FOR SELECT * FROM users
FETCH 100 FROM c
CLOSE c
COPY users TO STDOUT
COPY users (id, name) FROM STDIN WITH (FORMAT csv)
COPY (SELECT * FROM users WHERE active) TO STDOUT WITH CSV HEADER
CREATE TABLE users (id bigserial PRIMARY KEY, name text NOT NULL, email varchar(255) UNIQUE, created_at timestamptz DEFAULT now(), CHECK (length(name) > 0))
CREATE TABLE IF NOT EXISTS "schema_migrations" ("version" character varying NOT NULL PRIMARY KEY)
CREATE TABLE orders (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id bigint REFERENCES users(id) ON DELETE CASCADE, total numeric(10,2), tags text[], data jsonb DEFAULT '{}')
CREATE TABLE m (id int GENERATED ALWAYS AS IDENTITY, d date) PARTITION BY RANGE (d)
CREATE TABLE m_2024 PARTITION OF m FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
CREATE TABLE t2 (LIKE t INCLUDING ALL)
CREATE TABLE t3 AS SELECT * FROM users
CREATE TEMP TABLE tmp (id int) ON COMMIT DROP
CREATE UNLOGGED TABLE cache (k text PRIMARY KEY, v jsonb)
SELECT * INTO backup FROM users
CREATE INDEX users_email_idx ON users (email)
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON users (lower(email)) WHERE deleted_at IS NULL
CREATE INDEX i ON documents USING gin (data jsonb_path_ops)
CREATE INDEX i ON items USING hnsw (embedding vector_l2_ops) WITH (m = 16)
CREATE VIEW active_users AS SELECT * FROM users WHERE active
CREATE OR REPLACE VIEW v AS SELECT 1 AS a
CREATE MATERIALIZED VIEW stats AS SELECT count(*) FROM users
REFRESH MATERIALIZED VIEW CONCURRENTLY stats
CREATE TYPE mood AS ENUM ('sad', 'ok')
CREATE TYPE pair AS (a int, b int)
ALTER TYPE mood ADD VALUE 'happy'
CREATE DOMAIN email AS text CHECK (VALUE ~ '@')
CREATE SEQUENCE s START 100
ALTER SEQUENCE s OWNED BY users.id
CREATE SCHEMA IF NOT EXISTS reporting
CREATE DATABASE app_test
CREATE EXTENSION IF NOT EXISTS "uuid-ossp"
CREATE EXTENSION IF NOT EXISTS pgcrypto
CREATE EXTENSION vector
CREATE FUNCTION add(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b'
CREATE OR REPLACE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END; $$
CREATE TRIGGER set_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION set_updated_at()
CREATE RULE r AS ON INSERT TO v DO INSTEAD INSERT INTO t VALUES (NEW.a)
CREATE STATISTICS s ON a, b FROM t
ALTER TABLE users ADD COLUMN age int
ALTER TABLE users ADD COLUMN IF NOT EXISTS active boolean NOT NULL DEFAULT true
ALTER TABLE users ADD CONSTRAINT u UNIQUE (email)
ALTER TABLE orders ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID
ALTER TABLE orders VALIDATE CONSTRAINT fk
ALTER TABLE users ALTER COLUMN name SET NOT NULL
ALTER TABLE users ALTER COLUMN name DROP DEFAULT, ALTER COLUMN age SET DEFAULT 0
ALTER TABLE users ALTER COLUMN name TYPE text
ALTER TABLE users RENAME COLUMN name TO full_name
ALTER TABLE users RENAME TO people
ALTER INDEX i RENAME TO j
ALTER TABLE m ATTACH PARTITION m_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
ALTER TABLE users SET (fillfactor = 70)
ALTER TABLE users ALTER COLUMN name SET STATISTICS 100
ALTER TABLE users REPLICA IDENTITY FULL
ALTER TABLE users DROP CONSTRAINT IF EXISTS u
COMMENT ON TABLE users IS 'people'
COMMENT ON COLUMN users.name IS NULL
LOCK TABLE users IN SHARE MODE
ANALYZE users
VACUUM users
VACUUM (ANALYZE, VERBOSE) users
REINDEX TABLE users
CLUSTER users USING users_pkey
DO $$ BEGIN CREATE TYPE mood AS ENUM ('sad'); EXCEPTION WHEN duplicate_object THEN NULL; END $$
DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_type WHERE typname = 'mood') THEN CREATE TYPE mood AS ENUM ('sad'); END IF; END $$
UPDATE alembic_version SET version_num = '2' WHERE alembic_version.version_num = '1'
update "knex_migrations_lock" set "is_locked" = 1 where "is_locked" = 0
