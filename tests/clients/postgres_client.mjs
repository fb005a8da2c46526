// node-postgres with nothing but DATABASE_URL: parameters, prepared statements, a pool, a transaction that
// fails, and one that waits in vain.
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 3 });
await pool.query('CREATE TABLE d (id int PRIMARY KEY, t text)');
await Promise.all([...Array(20).keys()].map((n) => pool.query('INSERT INTO d VALUES ($1, $2)', [n, `t${n}`])));
const named = { name: 'by-id', text: 'SELECT t FROM d WHERE id = $1' };
for (let n = 0; n < 10; n++) {
  const { rows } = await pool.query({ ...named, values: [n] });
  if (rows[0].t !== `t${n}`) throw new Error(JSON.stringify(rows));
}
const client = await pool.connect();
try {
  await client.query('BEGIN');
  await client.query('UPDATE d SET t = $1 WHERE id = 1', ['changed']);
  await client.query('SELECT nothing FROM d');
} catch (error) {
  if (error.code !== '42703') throw error;
  await client.query('ROLLBACK');
}
client.release();
const { rows } = await pool.query('SELECT t FROM d WHERE id = 1');
if (rows[0].t !== 't1') throw new Error(JSON.stringify(rows));
await pool.end();
console.log('node-postgres works');
