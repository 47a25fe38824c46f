import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BREAKER_RULES } from '../../src/core/breaker.ts';
import type { Connector, StreamResult } from '../../src/core/model.ts';
import { openStore } from '../../src/store/open.ts';
import type { Store } from '../../src/store/store.ts';

/** A clock turned by hand. */
export interface HandClock {
  now(): Date;
  pass(ms: number): void;
}

export function handClock(start = Date.parse('2026-11-02T08:00:00.000Z')): HandClock {
  let at = start;
  return {
    now: () => new Date(at),
    pass: (ms) => {
      at += ms;
    },
  };
}

/** A folder of its own, removed when disposed. */
export function scratch(): { readonly dir: string; readonly file: string } & Disposable {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-store-'));
  return {
    dir,
    file: join(dir, 'store.db'),
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

export function open(file: string, now: () => Date, breaker = BREAKER_RULES): Promise<Store> {
  return openStore({ file, now, random: (bytes) => randomBytes(bytes), breaker });
}

export function connector(name: string, more: Partial<Connector> = {}): Connector {
  return { name, type: 'postgresql', config: { host: 'db.example' }, streams: [], enabled: true, ...more };
}

export function result(stream: string, more: Partial<StreamResult> = {}): StreamResult {
  return {
    stream,
    status: 'running',
    rows_read: 0,
    rows_written: 0,
    rows_deleted: 0,
    rejects: 0,
    bytes_read: 0,
    ms: {},
    ...more,
  };
}
