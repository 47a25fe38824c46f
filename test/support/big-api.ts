/** An API of one very large page, in a process of its own: `node big-api.ts <records> <ndjson|json>` prints its port. */

import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const [records = 10_000, format = 'ndjson'] = [Number(process.argv[2] ?? 10_000), process.argv[3]];

const server = createServer((_, response) => {
  response.writeHead(200, {
    'content-type': format === 'json' ? 'application/json' : 'application/x-ndjson',
  });
  void write(response).catch(() => response.destroy());
});
server.listen(0, '127.0.0.1', () => {
  process.send?.((server.address() as AddressInfo).port);
});

async function write(response: ServerResponse): Promise<void> {
  const json = format === 'json';
  if (json) response.write('{"kind":"list","data":[');
  const each = 500;
  for (let id = 0; id < records; id += each) {
    const count = Math.min(each, records - id);
    const lines = Array.from({ length: count }, (_, at) => line(id + at));
    const text = json ? `${id > 0 ? ',' : ''}${lines.join(',')}` : `${lines.join('\n')}\n`;
    if (!response.write(text)) await once(response, 'drain');
  }
  response.end(json ? '],"next":null}' : undefined);
}

/** About 250 bytes. */
function line(id: number): string {
  return `{"id":${id},"name":"customer number ${id}","email":"customer${id}@example.com","amount":${(id % 10_000) / 4},"active":${id % 2 === 0},"updated_at":"2026-01-02T03:04:05Z","note":"a sentence of some length that says nothing at all about it","tags":["a","b"]}`;
}
