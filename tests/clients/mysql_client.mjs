// mysql2 with nothing but DATABASE_URL: values, prepared statements, a pool, a transaction that fails.
import mysql from 'mysql2/promise';

const pool = mysql.createPool({ uri: process.env.DATABASE_URL, connectionLimit: 3 });
await pool.query('CREATE TABLE d (id int PRIMARY KEY, t text, at datetime(6), x double)');
const at = new Date('2026-11-23T10:00:00.250Z');
await Promise.all([...Array(20).keys()].map((n) => pool.execute('INSERT INTO d VALUES (?, ?, ?, ?)', [n, `t${n}`, at, 0.5])));
for (let n = 0; n < 10; n++) {
  const [rows] = await pool.execute('SELECT t, x FROM d WHERE id = ?', [n]);
  if (rows[0].t !== `t${n}` || rows[0].x !== 0.5) throw new Error(JSON.stringify(rows));
}
const connection = await pool.getConnection();
try {
  await connection.beginTransaction();
  await connection.query('UPDATE d SET t = ? WHERE id = 1', ['changed']);
  await connection.query('SELECT nothing FROM d');
} catch (error) {
  if (error.errno !== 1054) throw error;
  await connection.rollback();
}
connection.release();
const [rows] = await pool.query('SELECT t FROM d WHERE id = 1');
if (rows[0].t !== 't1') throw new Error(JSON.stringify(rows));
await pool.end();
console.log('mysql2 works');
