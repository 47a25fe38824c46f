import Database from 'better-sqlite3';
import { normalTime } from '../../src/connectors/rest-api/kinds.ts';
import type { Stream } from '../../src/core/model.ts';
import { compareRows, type Difference } from './moving-source.ts';
import { serveList, type Thing } from './rest-list.ts';
import type { Rng } from './rng.ts';

/**
 * An API whose list somebody else changes at every request, by a clock that passes seconds with each of them: rows come
 * anywhere in the list, change, and go, several with one time and one number, and times are up to 40 s old when they are
 * first seen. An incremental reading of twenty pages lasts two minutes by that clock.
 */
export interface MovingList extends AsyncDisposable {
  readonly url: string;
  /** Whether rows change at every request. */
  restless: boolean;
  /** Changes a third of all rows at once, so that the next incremental runs have much to do. */
  churn(): void;
  /** Counts requests anew: a life begins. */
  begin(): void;
  /** Requests answered since `begin` that are no stream's first: a look at a stream is not counted as a reading. */
  pages(): number;
  /** Resolves when so many requests have been answered since `begin`. */
  untilAnswered(requests: number): Promise<void>;
  /** Every row that landed against every row that is there. What is gone may still be in tables that are merged. */
  compare(warehouse: string, connector: string): readonly Difference[];
}

export type Way = 'cursor' | 'offset';

const PAGE = 15;
/** Milliseconds by the clock of the API. */
const REQUEST_TAKES = 5_000;
const LATE_MOST = 40_000;
const START = Date.UTC(2024, 0, 1);

const kept = ['orders', 'stock', 'moves'];

/** One list, read in four ways: by time, by a number, by a number that it is sorted by, and whole. */
export function listStreams(way: Way): readonly Stream[] {
  const declared = (name: string, size: number, more: Partial<Stream>): Stream => ({
    name,
    path: `/${way}`,
    primary_key: ['id'],
    mode: 'merge',
    ...more,
    rest: {
      records: 'data',
      pagination:
        way === 'cursor'
          ? { type: 'cursor', cursor_param: 'cursor', next: 'meta.next_cursor' }
          : { type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: size },
      ...more.rest,
      // The list's name tells requests of one stream from those of another.
      params: { list: name, ...(way === 'cursor' ? { limit: size } : {}), ...more.rest?.params },
    },
  });
  const byTime = { cursor_param: 'since', cursor_format: 'iso' };
  const byNumber = { cursor_param: 'version' };
  const sorted = { ...byNumber, order: 'asc', params: { sort: 'amount' } } as const;
  return [
    declared('orders', PAGE, { cursor: 'updated_at', rest: byTime }),
    declared('stock', PAGE, { cursor: 'amount', rest: byNumber }),
    declared('moves', PAGE, { cursor: 'amount', rest: sorted }),
    declared('prices', PAGE * 4, { mode: 'replace' }),
  ];
}

export async function serveMovingList(rows: number, rng: Rng): Promise<MovingList> {
  const writer = createWriter(rows, rng);
  const api = await serveList(writer.things(), PAGE * 4);
  let answered = new Map<string, number>();
  const total = (): number => [...answered.values()].reduce((sum, count) => sum + count, 0);
  const waiting = new Set<{ readonly requests: number; readonly settle: () => void }>();

  api.hook = (request, response) => {
    if (list.restless) writer.disturb();
    api.things = writer.things();
    response.setHeader('date', new Date(writer.pass()).toUTCString());
    const name = new URL(request.url ?? '/', api.url).searchParams.get('list') ?? '';
    // What a process that was killed had asked for is none of the next one's.
    const life = answered;
    response.on('finish', () => {
      life.set(name, (life.get(name) ?? 0) + 1);
      for (const one of waiting) if (total() >= one.requests) one.settle();
    });
    return undefined;
  };
  const list: MovingList = {
    url: api.url,
    restless: false,
    churn: writer.churn,
    begin() {
      answered = new Map();
      waiting.clear();
    },
    pages: () => total() - answered.size,
    untilAnswered: (requests) =>
      new Promise((settle) => {
        waiting.add({ requests, settle });
      }),
    compare: (warehouse, connector) => compareList(warehouse, connector, writer),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
  return list;
}

interface Writer {
  /** By id, as they are now. */
  things(): Thing[];
  readonly gone: ReadonlySet<number>;
  /** The time now, and it goes on. */
  pass(): number;
  disturb(): void;
  churn(): void;
}

function createWriter(rows: number, rng: Rng): Writer {
  const things = new Map<number, Thing>();
  const gone = new Set<number>();
  let clock = START;
  let number = 0;
  const put = (id: number, amount: number, at: number): void => {
    const updated_at = new Date(at).toISOString().replace('.000Z', 'Z');
    things.set(id, { id, name: `written at ${number}`, amount, updated_at });
  };
  /** Three draws in a row are one number: ties, also with what has been read. */
  const draw = (): number => Math.floor(number++ / 3);
  const freshId = (): number => {
    for (;;) {
      const id = rng.int(1, rows * 1_200);
      if (!things.has(id) && !gone.has(id)) return id;
    }
  };
  for (let n = 1; n <= rows; n += 1) put(n * 1_000, draw(), clock + Math.floor(n / 4) * 1_000);
  clock += rows * 250 + 600_000;

  return {
    things: () => [...things.values()].sort((a, b) => a.id - b.id),
    gone,
    pass() {
      clock += REQUEST_TAKES;
      return clock;
    },
    disturb() {
      const at = clock - rng.int(0, LATE_MOST / 1_000) * 1_000;
      const amount = draw();
      const present = [...things.keys()];
      const grows = things.size < rows * 1.2;
      if (grows) for (let n = rng.int(0, 2); n > 0; n -= 1) put(freshId(), amount, at);
      for (let n = rng.int(0, 3); n > 0; n -= 1) put(rng.pick(present), amount, at);
      if (things.size < rows * 0.8) return;
      for (let n = rng.int(0, 2); n > 0; n -= 1) {
        const id = rng.pick([...things.keys()]);
        things.delete(id);
        gone.add(id);
      }
    },
    churn() {
      const at = clock - rng.int(0, LATE_MOST / 1_000) * 1_000;
      for (const id of [...things.keys()]) if (rng.chance(0.33)) put(id, draw(), at);
    },
  };
}

function compareList(file: string, connector: string, { things, gone }: Writer): readonly Difference[] {
  const warehouse = new Database(file, { readonly: true });
  try {
    const source = things().map(({ id, name, amount, updated_at }) =>
      [id, name, amount, normalTime(updated_at)].join('|'),
    );
    return [...kept, 'prices'].map((name) => {
      const rows = warehouse
        .prepare(
          `SELECT id, concat_ws('|', id, name, amount, updated_at) AS moved FROM "${connector}__${name}"`,
        )
        .all() as readonly { readonly id: number; readonly moved: string }[];
      // A merge keeps what is gone, a replace does not.
      const landed = rows.filter(({ id }) => name === 'prices' || !gone.has(id));
      return compareRows(
        name,
        source,
        landed.map(({ moved }) => moved),
      );
    });
  } finally {
    warehouse.close();
  }
}
