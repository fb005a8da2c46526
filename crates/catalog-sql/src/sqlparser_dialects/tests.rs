//! What MySQL and SQLite texts are held for, and where the parser must not be believed.

use tagout_core::Flag;

use crate::{Class, Classifier, Dialect, Statement, Unreadable, WhereKind};

fn classify(dialect: Dialect, text: &str) -> Result<Vec<Statement>, Unreadable> {
    Classifier::start(1).unwrap().classify(dialect, text)
}

fn passes(dialect: Dialect, text: &str) -> bool {
    let asks = [
        Flag::PermissionChange,
        Flag::CredentialMint,
        Flag::SecretRead,
    ];
    classify(dialect, text).is_ok_and(|statements| {
        statements.iter().all(|statement| {
            statement.class() < Class::Destructive
                && !asks.iter().any(|flag| statement.flags().contains(*flag))
                && statement.acts.iter().all(|act| act.known)
        })
    })
}

#[test]
fn dangerous_texts_are_held_or_refused() {
    let both = [
        "DROP TABLE users",
        "DELETE FROM users",
        "DELETE FROM users WHERE 1=1",
        "DELETE FROM users WHERE id > 0",
        "DELETE FROM users WHERE id = 5 OR 1=1",
        "DELETE FROM users WHERE id IN (SELECT id FROM users)",
        "UPDATE users SET a = 1",
        "UPDATE users SET a = 1 WHERE true",
        "SELECT 1; DROP TABLE users",
        "SELECT 1 END; DROP TABLE users",
        "WITH x AS (SELECT 1) DELETE FROM users",
        "SELECT evil()",
        "SELECT * FROM users WHERE evil(id)",
        "INSERT INTO users SELECT evil()",
        "SELECT other.lower('x')",
        "SELECT 1 /* /* */; DROP TABLE users; -- */",
        "SELECT 1 AS $$; DROP TABLE users; -- $$",
        "CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW BEGIN DELETE FROM orders; END",
        "ALTER TABLE users DROP COLUMN name",
        "SELECT",
        "BEGIN; DELETE FROM users; COMMIT",
        "EXPLAIN SELECT evil()",
    ];
    for text in both {
        for dialect in [Dialect::Mysql, Dialect::Sqlite] {
            assert!(!passes(dialect, text), "{dialect:?}: {text}");
        }
    }
    for text in [
        "TRUNCATE users",
        "TRUNCATE TABLE users",
        "DROP DATABASE app",
        "REPLACE INTO users SELECT evil()",
        "SELECT 1 /*! ; DROP TABLE users */",
        "SELECT 1 /*!50000 ; DROP TABLE users */",
        "SELECT 1 /*M! ; DROP TABLE users */",
        "SELECT 1 --1; DROP TABLE users",
        "SELECT 1 --\u{1}\n; DROP TABLE users",
        "SELECT 'a\\'; DROP TABLE users; -- '; DROP TABLE users",
        "SELECT * INTO OUTFILE '/tmp/x' FROM users",
        "SELECT * FROM users INTO OUTFILE '/tmp/x'",
        "SELECT 'x' INTO DUMPFILE '/tmp/x'",
        "SELECT load_file('/etc/passwd')",
        "LOAD DATA INFILE '/etc/passwd' INTO TABLE t",
        "SELECT sys_exec('id')",
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "SET GLOBAL general_log = 1",
        "SET @@global.general_log = 1",
        "SET NAMES gbk",
        "SET PASSWORD = 'x'",
        "SET autocommit = 1, sql_mode = 'ANSI_QUOTES'",
        "GRANT ALL ON *.* TO 'a'@'%'",
        "CREATE USER 'a'@'%' IDENTIFIED BY 'x'",
        "DROP USER 'a'",
        "PREPARE p FROM 'DROP TABLE users'",
        "EXECUTE p",
        "CALL evil()",
        "KILL 5",
        "FLUSH PRIVILEGES",
        "RENAME USER a TO b",
        "ALTER TABLE users MODIFY name int",
        "ALTER TABLE users DROP PARTITION p0",
        "SELECT authentication_string FROM mysql.user",
        "DELETE users FROM users JOIN orders WHERE orders.id = 5",
        "DELETE FROM users WHERE email = 0",
        "DELETE FROM users WHERE id = 0",
        "DELETE FROM users WHERE id = ''",
        "DELETE FROM users WHERE id = \"id\"",
        "UPDATE users, orders SET users.a = 1 WHERE orders.id = 5",
        "UPDATE users JOIN orders ON true SET users.a = 1 WHERE orders.id = 5",
        "USE production",
        "SHUTDOWN",
        "INSTALL PLUGIN x SONAME 'x.so'",
        "CREATE FUNCTION f RETURNS STRING SONAME 'x.so'",
        "HANDLER users OPEN",
        // OR and XOR bind less than AND, whatever the parser thinks.
        "DELETE FROM users WHERE 1 || a AND id = 5",
        "DELETE FROM users WHERE 1 XOR a AND id = 5",
        "/*!40000 DROP TABLE users */",
        "SELECT /*!99999 1; DROP TABLE users */",
        "SET sql_mode = CONCAT(@@sql_mode, ',ANSI')",
        "SET sql_mode = @mode; DELETE FROM users WHERE id = 5",
        "SET character_set_client = gbk",
        "SET SESSION TRANSACTION READ WRITE",
        "START TRANSACTION READ WRITE",
        "SHOW GRANTS",
        "ANALYZE DELETE FROM users",
        "ANALYZE FORMAT=JSON DELETE FROM users",
        "REPLACE INTO users SELECT id, NULL FROM users",
        "INSERT INTO users SELECT * FROM users ON DUPLICATE KEY UPDATE name = NULL",
        "DELETE FROM users WHERE id = 5 --\u{a0} OR 1=1",
        "DELETE FROM users WHERE id = 5 --\u{200b} OR 1=1",
        "SHOW CREATE USER a",
        "SHOW TABLES; DROP TABLE users",
        "SHOW TABLES WHERE evil()",
        "SELECT /*+ SET_VAR(sql_mode='ANSI') */ 1",
        "DO evil()",
    ] {
        assert!(!passes(Dialect::Mysql, text), "{text}");
    }
    for text in [
        "SELECT load_extension('x')",
        "ATTACH DATABASE '/tmp/x' AS x",
        "PRAGMA writable_schema = 1",
        "PRAGMA journal_mode = OFF",
        "PRAGMA trusted_schema = 1",
        "SELECT 'a\\'; DROP TABLE users; --'",
        "SELECT 1 # ; \n DROP TABLE users",
        "VACUUM INTO '/tmp/x'",
        "SELECT writefile('/tmp/x', 'y')",
        "SELECT readfile('/etc/passwd')",
        "SELECT fts3_tokenizer('x', y)",
        "DETACH x",
        "CREATE VIRTUAL TABLE t USING csv(filename='/etc/passwd')",
        "INSERT INTO sqlite_master VALUES (evil())",
    ] {
        assert!(!passes(Dialect::Sqlite, text), "{text}");
    }
}

#[test]
fn everyday_texts_ask_nobody() {
    for text in [
        "SELECT * FROM users WHERE id = 5",
        "SELECT count(*), max(a) FROM users GROUP BY b HAVING count(*) > 1 ORDER BY 1 LIMIT 5",
        "WITH x AS (SELECT 1 AS a) SELECT a FROM x",
        "INSERT INTO users (name) VALUES ('Bob'), ('Eve')",
        "UPDATE users SET name = 'x' WHERE id = 5",
        "UPDATE users SET name = 'x' WHERE email = 'a@example.com'",
        "UPDATE users SET plan = 'free' WHERE plan IS NULL",
        "DELETE FROM users WHERE id = 5",
        "DELETE FROM users WHERE id IN (1, 2, 3)",
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS t (a int)",
        "CREATE INDEX i ON users (name)",
        "CREATE VIEW v AS SELECT 1",
        "ALTER TABLE users ADD COLUMN age int",
        "ALTER TABLE users RENAME COLUMN a TO b",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "SELECT coalesce(a, b), substr(c, 1, 2), json_extract(d, '$.a') FROM t",
        "EXPLAIN SELECT 1",
        "EXPLAIN DELETE FROM users",
    ] {
        for dialect in [Dialect::Mysql, Dialect::Sqlite] {
            assert!(
                passes(dialect, text),
                "{dialect:?}: {text} {:?}",
                classify(dialect, text)
            );
        }
    }
    for text in [
        "SHOW TABLES",
        "SHOW CREATE TABLE users",
        "SET NAMES utf8mb4",
        "SET autocommit = 0",
        "SET time_zone = '+00:00'",
        "SET @x = 5",
        "START TRANSACTION",
        "/*M!100100 SET @@MAX_STATEMENT_TIME=0.000000 */",
        "/*!40000 ALTER TABLE `users` DISABLE KEYS */;",
        "START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */",
        "SHOW VARIABLES LIKE 'sql_mode'",
        "SHOW FULL COLUMNS FROM `users` FROM `app`",
        "SHOW INDEX FROM users",
        "SHOW TABLE STATUS WHERE Name = 'users'",
        "SHOW WARNINGS",
        "SHOW ENGINES",
        "SELECT @@version_comment LIMIT 1",
        "SELECT @@session.transaction_isolation, @@max_allowed_packet",
        "/*!40101 SET NAMES utf8 */;",
        "SET SQL_MODE=''",
        "SET SQL_MODE=@OLD_SQL_MODE",
        "SET @@SESSION.sql_mode = CONCAT(CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), ',NO_AUTO_VALUE_ON_ZERO'), @@SESSION.sql_auto_is_null = 0",
        "SET SESSION sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES'",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET FOREIGN_KEY_CHECKS=0",
        "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci",
        "SET character_set_results = NULL",
        "DESCRIBE users",
        "SELECT TABLE_NAME FROM information_schema.tables WHERE TABLE_SCHEMA = DATABASE()",
        "CREATE TABLE `t` (`id` int unsigned NOT NULL AUTO_INCREMENT, `at` datetime(6) DEFAULT NULL, PRIMARY KEY (`id`), KEY `k` (`at`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci",
        "LOCK TABLES t WRITE",
        "UNLOCK TABLES",
        "SELECT DATE_FORMAT(now(), '%Y'), GROUP_CONCAT(name), IFNULL(a, 0) FROM users",
        "INSERT INTO t (id) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)",
        "SELECT `name` FROM `users` WHERE `id` = ?",
        "SELECT 1 -- a comment\n, 2 # another\n, 3 /* and one */",
    ] {
        assert!(
            passes(Dialect::Mysql, text),
            "{text} {:?}",
            classify(Dialect::Mysql, text)
        );
    }
    for text in [
        "PRAGMA table_info('users')",
        "PRAGMA foreign_keys = 1",
        "BEGIN",
        "INSERT OR REPLACE INTO t (id) VALUES (1)",
        "SELECT datetime('now'), typeof(a), strftime('%Y', b) FROM t",
        "SELECT \"name\" FROM \"users\" WHERE \"id\" = ?1",
    ] {
        assert!(
            passes(Dialect::Sqlite, text),
            "{text} {:?}",
            classify(Dialect::Sqlite, text)
        );
    }
}

#[test]
fn mysql_takes_nothing_back() {
    let statements = classify(Dialect::Mysql, "DROP TABLE users").unwrap();
    assert_eq!(statements[0].class(), Class::Irreversible);
    assert!(!statements[0].transactional);
    let statements = classify(Dialect::Sqlite, "DROP TABLE users").unwrap();
    assert_eq!(statements[0].class(), Class::Destructive);
    assert!(statements[0].transactional);
    let statements = classify(Dialect::Mysql, "DELETE FROM users WHERE id > 3").unwrap();
    assert_eq!(statements[0].acts[0].rows, Some(WhereKind::Other));
}

#[test]
fn long_and_deep_texts_end_no_process() {
    for dialect in [Dialect::Mysql, Dialect::Sqlite] {
        for text in [
            format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
            format!("SELECT 1{}", " + 1".repeat(100_000)),
            format!("SELECT 1{}", " + 1".repeat(3_900)),
            format!("SELECT {}1", "- ".repeat(100_000)),
            format!("SELECT {}1", "NOT ".repeat(3_900)),
            format!("SELECT 1{}", " UNION SELECT 1".repeat(3_000)),
            format!("SELECT 1 FROM a{}", " JOIN a".repeat(3_900)),
            format!("SELECT 1{}", " COLLATE x".repeat(3_900)),
            format!(
                "SELECT {}1{}",
                "CASE WHEN 1 THEN ".repeat(3_000),
                " END".repeat(3_000)
            ),
            "(".repeat(1_000_000),
            "[".repeat(100_000),
        ] {
            let _ = classify(dialect, &text);
        }
        let rows = vec!["(-1, 'a', NULL, 1 + 1)"; 20_000].join(", ");
        assert!(classify(dialect, &format!("INSERT INTO t VALUES {rows}")).is_ok());
    }
}
