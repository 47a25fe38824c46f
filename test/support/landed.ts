/** Streams landed as a run lands them: the engine's own sync, with a writing thread, into a file of the test's own. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { restApi } from '../../src/connectors/rest-api/index.ts';
import type { Stream, StreamResult } from '../../src/core/model.ts';
import { streamSchema } from '../../src/core/schema.ts';
import { validate } from '../../src/core/validate.ts';
import { createLanding } from '../../src/engine/landing.ts';
import { syncStream } from '../../src/engine/sync.ts';

export interface Warehouse extends Disposable {
  readonly file: string;
  /** What any SQLite tool would see; whole numbers as numbers where they are safe. */
  query(sql: string): Readonly<Record<string, unknown>>[];
  /** One run of a stream, as the engine does it. A run that was cut off goes on as the same run unless `fresh`. */
  sync(run: SyncRequest): Promise<StreamResult>;
}

export interface SyncRequest {
  readonly url: string;
  readonly stream: object;
  readonly streams?: readonly object[];
  readonly config?: object;
  readonly signal?: AbortSignal;
  readonly fullRefresh?: boolean;
}

/** An empty warehouse in a folder of its own. */
export function freshWarehouse(): Warehouse {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-rest-'));
  const file = join(directory, 'warehouse.db');
  let epoch = 0;
  let run = 1;
  return {
    file,
    query(sql) {
      const db = new DatabaseSync(file, { readOnly: true, readBigInts: true });
      try {
        return db
          .prepare(sql)
          .all()
          .map((row) =>
            Object.fromEntries(
              Object.entries(row).map(([name, value]) => [
                name,
                typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value,
              ]),
            ),
          );
      } finally {
        db.close();
      }
    },
    async sync({
      url,
      stream,
      streams = [],
      config = {},
      signal = new AbortController().signal,
      fullRefresh = false,
    }) {
      const declare = (one: object): Stream => validate(streamSchema, one, 'The stream');
      const checked = validate(restApi.config, { base_url: url, ...config }, 'The config');
      const wanted = declare(stream);
      const network = { allow: [], allowPrivateHttp: ['127.0.0.1'] };
      await using source = await restApi.open(checked, {
        network,
        streams: [...streams.map(declare), wanted],
      });
      const faults: string[] = [];
      await using landing = createLanding((detail) => void faults.push(detail));
      await landing.begin(file);
      const result = await syncStream(
        {
          connector: 'api',
          stream: wanted,
          runId: `run${String(run).padStart(4, '0')}`,
          epoch: ++epoch,
          fullRefresh,
          sourceDefinition: restApi.definition(checked),
          earlier: {
            stream: wanted.name,
            status: 'pending',
            rows_read: 0,
            rows_written: 0,
            rows_deleted: 0,
            rejects: 0,
            bytes_read: 0,
            ms: {},
          },
        },
        {
          source,
          landing,
          showCursor: restApi.showCursor,
          now: () => performance.now(),
          onProgress: () => undefined,
          onFault: (detail) => void faults.push(detail),
        },
        signal,
      );
      await landing.end();
      if (result.status === 'succeeded') run += 1;
      if (faults.length > 0) throw new Error(faults.join('\n'));
      return result;
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
