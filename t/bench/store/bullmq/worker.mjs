// What people would write instead: a BullMQ worker that inserts a row a job with pg, 64 at once.
// The jobs are queued before "ready"; SIGUSR2 starts the worker; "done" when the last has ended.
//
// usage: node worker.mjs REDIS_SOCKET POSTGRES_SOCKET_DIR COUNT PADDING

import { Queue, Worker } from 'bullmq';
import Redis from 'ioredis';
import pg from 'pg';

const [socket, host, countText, padding] = process.argv.slice(2);
const count = Number(countText);
const connect = () => new Redis({ path: socket, maxRetriesPerRequest: null });

const queue = new Queue('store', { connection: connect(), defaultJobOptions: { removeOnComplete: true } });
const body = (n) => {
    const ts = `${1795300000 + Math.floor(n / 1000)}.${String(1 + (n % 1000)).padStart(6, '0')}`;
    return {
        type: 'event_callback', team_id: 'T0BENCH', event_id: `Ev${n}`,
        event: { type: 'message', user: `U${n % 500}`, channel: `C${n % 20}`, ts, text: `Note ${n}: ${padding}` },
    };
};
for (let n = 0; n < count; n += 500) {
    const jobs = [];
    for (let i = n; i < Math.min(n + 500, count); i++) {
        jobs.push({ name: 'event', data: body(i) });
    }
    await queue.addBulk(jobs);
}

const pool = new pg.Pool({ host, user: 'postgres', database: 'study', max: 64, application_name: 'bullmq' });
// A name: parsed and planned once a connection.
const text = `INSERT INTO study.message
    (team_id, channel_id, ts, user_id, text, posted_at, accepted_at)
    VALUES ($1, $2, $3, $4, $5, to_timestamp($6), now())
    ON CONFLICT (team_id, channel_id, ts) DO NOTHING`;

process.once('SIGUSR2', () => {
    let left = count;
    const worker = new Worker('store', async ({ data: { team_id, event } }) => {
        const values = [team_id, event.channel, event.ts, event.user, event.text, Number(event.ts)];
        await pool.query({ name: 'insert', text, values });
    }, { connection: connect(), concurrency: 64 });
    worker.on('failed', (job, error) => {
        console.log(error.message);
        process.exit(1);
    });
    worker.on('completed', () => {
        if (--left === 0) {
            console.log('done');
        }
    });
});
setInterval(() => {}, 1000);
console.log('ready');
