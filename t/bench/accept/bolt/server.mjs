// The accept path as the official SDK would have it: @slack/bolt verifies and parses, BullMQ queues.
// processBeforeResponse makes Bolt answer only after the listener has returned, so that a 200 means
// that Redis has the job, as with the other candidates.
//
// usage: node server.mjs PORT REDIS_SOCKET SECRET_FILE

import { readFileSync } from 'node:fs';
import { App, HTTPReceiver, LogLevel } from '@slack/bolt';
import { Queue } from 'bullmq';
import Redis from 'ioredis';

const [port, socket, secretFile] = process.argv.slice(2);

const receiver = new HTTPReceiver({
    signingSecret: readFileSync(secretFile, 'utf8').trim(),
    endpoints: '/slack/events',
    processBeforeResponse: true,
    logLevel: LogLevel.ERROR,
});

const app = new App({
    receiver,
    logLevel: LogLevel.ERROR,
    authorize: async () => ({ botToken: 'xoxb-bench', botId: 'B0BENCH', botUserId: 'U0BENCH' }),
});

const queue = new Queue('study', {
    connection: new Redis({ path: socket, maxRetriesPerRequest: null }),
    defaultJobOptions: { removeOnComplete: true },
});

app.event(/.*/, async ({ body }) => {
    await queue.add('event', body);
});

await queue.waitUntilReady();
await app.start({ port: Number(port), host: '127.0.0.1' });
process.stdout.write('ready\n');
