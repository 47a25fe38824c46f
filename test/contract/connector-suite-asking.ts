import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Cursor, Stream } from '../../src/core/model.ts';
import { type Asked, numbered, stamp } from './connector-questions.ts';
import type { TestTable } from './connector-subject.ts';
import { calm, failure, readAll } from './reading-support.ts';

/** Check, discover, resolve and preview: what they answer, and that they change nothing. */
export function askingQuestions({ kind, subject, fresh, source }: Asked): void {
  test('check: a working connector, stream by stream, its login one that may only read', async () => {
    const table = await subject().make(
      {
        name: 'people',
        columns: { id: 'integer', updated_at: 'stamp', doc: 'unordered', empty: 'stamp' },
        key: ['id'],
      },
      [[1, stamp(1), null, null]],
    );
    const streams = [
      { name: 'people', table: table.ref, cursor: 'updated_at' },
      { name: 'gone', table: 'gone' },
    ];
    const good = await source().check(streams.slice(0, 1), calm);
    expect(good).toMatchObject({ ok: true, server_version: expect.stringMatching(/\d+\.\d+/) });
    expect(good.error).toBeUndefined();
    expect(good.warnings).toEqual(kind.expects.warned.map((words) => expect.stringMatching(words)));
    expect(good.latency_ms).toBeLessThan(1_000);
    const report = await source().check(streams, calm);
    expect(report).toMatchObject({ ok: false, error: { code: 'not_found_at_source' } });
    expect(report.checks.map(({ name, ok }) => [name, ok])).toEqual([
      ['reach', true],
      ['tls', true],
      ['login', true],
      ['version', true],
      ['stream people', true],
      ['stream gone', false],
    ]);
  });

  test.each(kind.expects.wrong)('$what: $code, whatever is asked', async ({ config, code, stages }) => {
    await using wrong = await subject().open(config);
    const stream: Stream = { name: 'people', table: 'people' };
    const report = await wrong.check([stream], calm);
    expect(report).toMatchObject({ ok: false, error: { code, hint: expect.stringMatching(/\w/) } });
    expect(report.checks.map(({ name }) => name)).toEqual(stages);
    expect(report.checks.map(({ ok }) => ok)).toEqual(stages.map((_, i) => i < stages.length - 1));
    expect(JSON.stringify(report)).not.toContain(subject().config['password']);
    expect(await failure(wrong.discover({ limit: 1 }, calm))).toMatchObject({ code });
    expect(await failure(wrong.resolve(stream, calm))).toMatchObject({ code });
  });

  test('a server that accepts and says nothing is unreachable after connect_timeout_ms', async () => {
    await using silent = await listen(() => undefined);
    await using stuck = await subject().open({ ...silent.address, connect_timeout_ms: 200 });
    const startedAt = performance.now();
    expect(await stuck.check([], calm)).toMatchObject({
      ok: false,
      error: { code: 'host_unreachable', hint: expect.stringContaining('connect_timeout_ms') },
    });
    expect(performance.now() - startedAt).toBeLessThan(1_500);
  });

  test.each(['disable', 'prefer', 'require'])(
    'what is another kind of server is said to be none (ssl %s)',
    async (ssl) => {
      await using other = await listen((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
      await using wrong = await subject().open({ ...other.address, ssl, connect_timeout_ms: 1_000 });
      const report = await wrong.check([], calm);
      expect(report.ok).toBe(false);
      expect(report.error?.code).not.toBe('internal');
    },
  );

  test('a login without a grant: permission_denied, and what the hint says mends it', async () => {
    const table = await subject().make(
      { name: 'Closed x', columns: { id: 'integer', v: 'text' }, key: ['id'] },
      [[1, 'v']],
    );
    const stream: Stream = { name: 'closed', table: table.ref };
    await using stranger = await subject().open(await subject().stranger());
    let error: MillraceError | undefined;
    // One for the way in and one for the table, where these are granted apart.
    for (let granted = 0; granted < 3; granted += 1) {
      const outcome = await stranger.resolve(stream, calm).catch((refused: MillraceError) => refused);
      if (!(outcome instanceof Error)) break;
      error = outcome;
      expect(error).toMatchObject({ code: 'permission_denied', who: 'administrator', retryable: false });
      await subject().administrate(String(/GRANT [^;]+(?=;)/.exec(error.hint)?.[0]));
    }
    expect(error).toBeDefined();
    expect((await readAll(stranger, stream)).rows).toEqual([[1, 'v']]);
    expect(await stranger.check([stream], calm)).toMatchObject({ ok: true });
  });

  test('discover: every table once, with its columns and keys, and each can be read as suggested', async () => {
    await using own = await fresh();
    const shapes = [
      {
        name: 'orders',
        columns: { id: 'big', total: 'decimal', updated_at: 'stamp' },
        key: ['id'],
        required: ['updated_at'],
        indexed: ['updated_at'],
      },
      { name: 'Weird.Name `"', columns: { a: 'integer', 'b"`c': 'name', m: 'moment' } },
      { name: 'evil\u202Ename', columns: { id: 'name' }, key: ['id'] },
      { name: 'twice', columns: { b: 'integer', a: 'name' }, key: ['a', 'b'] },
    ] as const;
    for (const shape of shapes) await own.make(shape);
    await own.makeView('open_orders');
    await using asked = await own.open();
    const { items, next_cursor } = await asked.discover({ limit: 100 }, calm);
    expect(next_cursor).toBeUndefined();
    expect(items.map(({ kind: what }) => what).toSorted()).toEqual([
      'table',
      'table',
      'table',
      'table',
      'view',
    ]);
    expect(new Set(items.map(({ name }) => name)).size).toBe(5);
    const found = new Map<string, readonly string[]>();
    for (const item of items) {
      expect(item.name).toMatch(/^[a-z][a-z0-9_]{0,62}$/);
      expect(item.suggested).toMatchObject({ name: item.name, table: item.table });
      const resolved = await asked.resolve(item.suggested, calm);
      expect(
        resolved.columns.map(({ name, type, sourceType, nullable }) => ({
          name,
          type,
          source_type: sourceType,
          nullable,
        })),
      ).toEqual(item.columns);
      expect(item.primary_key).toEqual(resolved.primaryKey);
      await readAll(asked, item.suggested);
      found.set(item.columns.map(({ name }) => name).join(), item.primary_key);
    }
    expect(Object.fromEntries(found)).toEqual({
      'id,total,updated_at': ['id'],
      'a,b"`c,m': [],
      id: ['id'],
      'b,a': ['a', 'b'],
      'one,none': [],
    });
    const orders = items.find(({ name }) => name === 'orders');
    expect(orders?.columns.map(({ type, nullable }) => [type, nullable])).toEqual([
      ['integer', false],
      ['decimal', true],
      ['timestamptz', false],
    ]);
    expect(orders?.suggested.cursor).toBe('updated_at');
    expect(orders?.cursor_candidates[0]?.column).toBe('updated_at');
  });

  test('discover: pages meet without a gap while tables come and go; a search is a plain substring', async () => {
    await using own = await fresh();
    for (let i = 1; i <= 9; i += 1)
      await own.make({ name: `t_${i}`, columns: { id: 'integer', [`only${i}`]: 'text' }, key: ['id'] });
    await using asked = await own.open();
    const seen: string[] = [];
    let cursor: string | undefined;
    const between: TestTable[] = [];
    do {
      const page = await asked.discover({ limit: 2, ...(cursor === undefined ? {} : { cursor }) }, calm);
      expect(page.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.items.map(({ name }) => name));
      cursor = page.next_cursor;
      await between.pop()?.change({ table: 'dropped' });
      between.push(await own.make({ name: 'a_new_one', columns: { a: 'integer' } }));
    } while (cursor !== undefined);
    expect(seen).toEqual(numbered(9, (i) => `t_${i}`));
    await between.pop()?.change({ table: 'dropped' });
    const names = async (search: string): Promise<readonly string[]> =>
      (await asked.discover({ limit: 100, search }, calm)).items.map(({ name }) => name);
    expect(await names('T_3')).toEqual(['t_3']);
    expect(await names('only7')).toEqual(['t_7']);
    for (const nothing of ['t%3', 't\\_3', 'nothing like it', "'; DROP TABLE t_1; --", '\\', '"', "'"])
      expect(await names(nothing), nothing).toEqual([]);
    expect(await failure(asked.discover({ limit: 2, cursor: 'bm9uc2Vuc2U' }, calm))).toMatchObject({
      code: 'invalid_config',
    });
  });

  test('resolve: what was left open is chosen, and said', async () => {
    const people = await subject().make(
      { name: 'chosen', columns: { id: 'integer', name: 'name', updated_at: 'stamp' }, key: ['id'] },
      [
        [1, 'a', stamp(1)],
        [2, 'b', stamp(2)],
      ],
    );
    const heap = await subject().make({ name: 'chosen_heap', columns: { k: 'integer', at: 'stamp' } }, [
      [1, stamp(1)],
    ]);
    const chosen = async (stream: Omit<Stream, 'name'>): Promise<unknown> => {
      const { mode, primaryKey, cursor, detectDeletes, notes } = await source().resolve(
        { name: 's', ...stream },
        calm,
      );
      if (stream.mode === undefined) expect(notes.join(' ')).toContain(`Mode "${mode}" was chosen`);
      return [mode, primaryKey, cursor, detectDeletes];
    };
    const table = people.ref;
    expect(await chosen({ table, cursor: 'updated_at' })).toEqual(['merge', ['id'], 'updated_at', true]);
    expect(await chosen({ table, cursor: 'updated_at', deletes: 'ignore' })).toEqual([
      'merge',
      ['id'],
      'updated_at',
      false,
    ]);
    expect(await chosen({ table })).toEqual(['replace', ['id'], null, false]);
    expect(await chosen({ table, mode: 'merge' })).toEqual(['merge', ['id'], null, true]);
    expect(await chosen({ table: heap.ref, cursor: 'at' })).toEqual(['append', [], 'at', false]);
    expect(await chosen({ table: heap.ref, cursor: 'at', primary_key: ['k'] })).toEqual([
      'merge',
      ['k'],
      'at',
      true,
    ]);
    const { columns } = await source().resolve(
      { name: 's', table, cursor: 'updated_at', columns: { include: ['name'] } },
      calm,
    );
    expect(columns.map(({ name }) => name)).toEqual(['id', 'name', 'updated_at']);
  });

  test('resolve: what cannot work has a code and a hint that names what would', async () => {
    await using own = await fresh();
    await own.make(
      {
        name: 'people',
        columns: { id: 'integer', Name: 'name', updated_at: 'stamp', doc: 'unordered', empty: 'stamp' },
        key: ['id'],
      },
      [
        [1, 'a', stamp(1), null, null],
        [2, 'b', stamp(2), null, null],
      ],
    );
    await own.make({ name: 'dup', columns: { k: 'integer', l: 'integer', at: 'stamp' } }, [
      [1, 1, stamp(1)],
      [1, 2, stamp(1)],
      [2, 3, stamp(1)],
      [2, 3, stamp(1)],
      [3, 4, stamp(1)],
    ]);
    await own.make({ name: 'holes', columns: { k: 'integer', at: 'stamp' } }, [
      [1, stamp(1)],
      [null, stamp(1)],
    ]);
    await using asked = await own.open();
    const bad: readonly (readonly [Omit<Stream, 'name'>, string, RegExp])[] = [
      [{ table: 'poeple' }, 'not_found_at_source', /people/],
      [{ table: 'nowhere.people' }, 'not_found_at_source', /people/],
      [{ table: 'x; DROP TABLE people' }, 'not_found_at_source', /\w/],
      [{ table: 'people', cursor: 'update_at' }, 'not_found_at_source', /updated_at/],
      [{ table: 'people', primary_key: ['idd'] }, 'not_found_at_source', /id/],
      [{ table: 'people', primary_key: ['id', 'id'] }, 'invalid_config', /once/],
      [{ table: 'people', columns: { include: ['nmae'] } }, 'not_found_at_source', /Name/],
      [
        { table: 'people', columns: { include: ['id'], exclude: ['id'] }, mode: 'replace' },
        'invalid_config',
        /columns/,
      ],
      [{ table: 'people', cursor: 'doc' }, 'cursor_invalid', /timestamp/],
      [{ table: 'people', cursor: 'empty' }, 'cursor_invalid', /updated_at/],
      [{ table: 'people', mode: 'append' }, 'invalid_config', /"replace"/],
      [{ table: 'dup', mode: 'merge' }, 'invalid_config', /primary_key/],
      [{ table: 'dup', cursor: 'at', primary_key: ['k'] }, 'key_not_unique', /primary_key/],
      [{ table: 'dup', cursor: 'at', primary_key: ['k', 'l'] }, 'key_not_unique', /primary_key/],
      [{ table: 'holes', cursor: 'at', primary_key: ['k'] }, 'key_not_unique', /`where`/],
      [{ table: 'people', cursor: 'updated_at', lookback: 5 }, 'invalid_config', /"5m"/],
      [{ table: 'people', cursor: 'id', lookback: '5m' }, 'invalid_config', /1000/],
      [{ table: 'people', lookback: '5m' }, 'invalid_config', /duration/],
      [{ table: 'people', where: 'idd > 1' }, 'not_found_at_source', /discover_streams|Perhaps/],
      [{ table: 'people', where: 'id >' }, 'invalid_config', /one SELECT/],
      [{ query: 'SELEC 1' }, 'invalid_config', /one SELECT/],
      [{ query: 'SELECT 1 AS a; SELECT 2 AS b' }, 'invalid_config', /one SELECT/],
      [{ query: 'SELECT 1 AS a, 2 AS a' }, 'invalid_config', /name of its own/],
      [{ query: 'SELECT * FROM nowhere' }, 'not_found_at_source', /discover_streams/],
    ];
    for (const [stream, code, hint] of bad) {
      const error = await failure(asked.resolve({ name: 's', ...stream }, calm));
      expect(error, JSON.stringify(stream)).toMatchObject({ code });
      expect(error.hint, JSON.stringify(stream)).toMatch(hint);
    }
    const shared = await failure(
      asked.resolve({ name: 's', table: 'dup', cursor: 'at', primary_key: ['k'] }, calm),
    );
    expect(shared.message).toMatch(
      /^4 rows of .*dup share 2 values of the declared key \(k\), for example \(1\)\.$/,
    );
  });

  test('preview: the first rows, long values cut, nothing for a limit of nothing', async () => {
    const long = 1_000_000;
    const table = await subject().make(
      {
        name: 'look',
        columns: { id: 'integer', t: 'text', b: 'bytes', n: 'decimal', s: 'stamp' },
        key: ['id'],
      },
      numbered(5, (i) => [i, 'ä'.repeat(long), new Uint8Array(long).fill(0xab), '1.5000', stamp(1)]),
    );
    const stream = await source().resolve({ name: 'look', table: table.ref }, calm);
    const rows = await source().preview(stream, 3, calm);
    expect(rows.map(([id]) => id)).toEqual([1, 2, 3]);
    for (const [, t, b, ...rest] of rows) {
      expect(t).toBe('ä'.repeat(2000));
      expect(b).toEqual(new Uint8Array(2000).fill(0xab));
      expect(rest).toEqual(['1.5000', stamp(1)]);
    }
    expect(await source().preview(stream, 0, calm)).toEqual([]);
  });

  test('no question writes anything, whatever the user has it ask', { timeout: 60_000 }, async () => {
    const victim = await subject().make({ name: 'victim', columns: { id: 'integer' }, key: ['id'] }, [
      [1],
      [2],
    ]);
    const { username, password } = await subject().administrator();
    await using mighty = await subject().open({ username, password, pool: { min: 1, max: 1 } });
    const before = await subject().fingerprint([victim]);
    for (const { stream: sql, harmless = false } of kind.expects.hostile) {
      const told = JSON.stringify(sql);
      const stream = {
        name: 'bad',
        mode: 'replace',
        ...(sql.query === undefined ? { table: 'victim' } : {}),
        ...sql,
      } as Stream;
      await mighty.check([stream], calm);
      const preview = mighty.resolve(stream, calm).then((resolved) => mighty.preview(resolved, 5, calm));
      const outcomes = await Promise.allSettled([preview, readAll(mighty, stream)]);
      for (const outcome of outcomes) {
        expect(outcome.status, told).toBe(harmless ? 'fulfilled' : 'rejected');
        if (outcome.status === 'rejected')
          expect((outcome.reason as MillraceError).code, told).toMatch(
            /^(invalid_config|query_rejected|permission_denied|response_invalid|not_found_at_source)$/,
          );
      }
      expect(await subject().fingerprint([victim]), told).toBe(before);
    }
  });

  test('asking moves nothing: a position stays good through any number of questions', async () => {
    const table = await subject().make(
      { name: 'still', columns: { id: 'integer', at: 'stamp' }, key: ['id'] },
      numbered(100, (i) => [i, stamp(i)]),
    );
    const stream: Stream = { name: 'still', table: table.ref, cursor: 'at' };
    const { cursor } = await readAll(source(), stream);
    const before = await subject().fingerprint([table]);
    let position: Cursor = cursor;
    for (let turn = 0; turn < 3; turn += 1) {
      await source().check([stream], calm);
      await source().discover({ limit: 5 }, calm);
      await source().preview(await source().resolve(stream, calm), 5, calm);
      position = (await readAll(source(), stream, position)).cursor;
    }
    expect(position).toBe(cursor);
    expect(await subject().fingerprint([table])).toBe(before);
  });
}

/** Something that listens on the loopback and is no server of that kind. */
async function listen(
  serve: Parameters<typeof createServer>[1],
): Promise<AsyncDisposable & { readonly address: { readonly host: string; readonly port: number } }> {
  const server = createServer(serve);
  await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
  const { port } = server.address() as { port: number };
  return {
    address: { host: '127.0.0.1', port },
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}
