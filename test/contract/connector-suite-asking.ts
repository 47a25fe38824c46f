import { createServer } from 'node:net';
import { expect } from 'vitest';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Cursor, Stream } from '../../src/core/model.ts';
import { type Asked, held, numbered, stamp } from './connector-questions.ts';
import type { TestTable } from './connector-subject.ts';
import { calm, failure, readAll } from './reading-support.ts';

/** Check, discover, resolve and preview: what they answer, and that they change nothing. */
export function askingQuestions({ expects, ask, subject, fresh, source, sql, at }: Asked): void {
  ask('check: a working connector, stream by stream, its login one that may only read', async () => {
    const table = await subject().make(
      {
        name: 'people',
        columns: { id: 'integer', updated_at: 'stamp', doc: 'unordered', empty: 'stamp' },
        key: ['id'],
      },
      [[1, stamp(1), null, null]],
    );
    const stream = table.stream({ cursor: 'updated_at' });
    const good = await source().check([stream], calm);
    expect(good).toMatchObject({ ok: true });
    expect(good.error).toBeUndefined();
    expect(good.checks.map(({ name }) => name)).toEqual([...expects.check.stages, 'stream people']);
    const version = expects.check.version === null ? undefined : expect.stringMatching(expects.check.version);
    expect(good.server_version).toEqual(version);
    expect(good.warnings).toEqual(expects.check.warned.map((words) => expect.stringMatching(words)));
    expect(good.latency_ms).toBeLessThan(1_000);
    const report = await source().check([subject().named('gone'), stream], calm);
    expect(report).toMatchObject({ ok: false, error: { code: 'not_found_at_source' } });
    expect(report.checks.map(({ name, ok }) => [name, ok])).toEqual(expects.check.missing);
  });

  for (const { what, config, code, stages } of expects.wrong) {
    const question = async (): Promise<void> => {
      await using wrong = await subject().open(config);
      const stream = subject().named('people');
      const [report, ...refused] = await Promise.all([
        wrong.check([stream], calm),
        failure(wrong.discover({ limit: 1 }, calm)),
        failure(wrong.resolve(stream, calm)),
      ]);
      expect(report).toMatchObject({ ok: false, error: { code, hint: expect.stringMatching(/\w/) } });
      expect(report.checks.map(({ name }) => name)).toEqual(stages);
      expect(report.checks.map(({ ok }) => ok)).toEqual(stages.map((_, i) => i < stages.length - 1));
      expect(JSON.stringify(report)).not.toContain(subject().secret);
      expect(refused.map((error) => error.code)).toEqual([code, code]);
    };
    ask(`${what}: ${code}, whatever is asked`, question, { together: true });
  }

  const { deaf } = expects;
  const unheard = async (): Promise<void> => {
    await using silent = await listen(() => undefined);
    await using stuck = await subject().open({ ...subject().at(silent.address), ...deaf.config });
    const startedAt = performance.now();
    expect(await stuck.check([subject().named('people')], calm)).toMatchObject({
      ok: false,
      error: { code: deaf.code, hint: expect.stringContaining(deaf.setting) },
    });
    expect(performance.now() - startedAt).toBeLessThan(deaf.withinMs);
  };
  ask(`a server that accepts and says nothing: ${deaf.code} after ${deaf.setting}`, unheard, {
    together: true,
  });

  for (const { what, says, config } of expects.strangers) {
    const question = async (): Promise<void> => {
      await using other = await listen((socket) => socket.end(says));
      await using wrong = await subject().open({ ...subject().at(other.address), ...config });
      const report = await wrong.check([subject().named('people')], calm);
      expect(report.ok).toBe(false);
      expect(report.error?.code).not.toBe('internal');
    };
    ask(`what is another kind of server is said to be none (${what})`, question, { together: true });
  }

  ask.needing('grants')(
    'a login without a grant: permission_denied, and what the hint says mends it',
    async () => {
      const table = await subject().make(
        { name: 'Closed x', columns: { id: 'integer', v: 'text' }, key: ['id'] },
        [[1, 'v']],
      );
      const stream = table.stream();
      await using stranger = await subject().open(await sql().stranger());
      let error: MillraceError | undefined;
      // One for the way in and one for the table, where these are granted apart.
      for (let granted = 0; granted < 3; granted += 1) {
        const outcome = await stranger.resolve(stream, calm).catch((refused: MillraceError) => refused);
        if (!(outcome instanceof Error)) break;
        error = outcome;
        expect(error).toMatchObject({ code: 'permission_denied', who: 'administrator', retryable: false });
        await sql().administrate(String(/GRANT [^;]+(?=;)/.exec(error.hint)?.[0]));
      }
      expect(error).toBeDefined();
      expect((await readAll(stranger, stream)).rows).toEqual([[1, 'v']]);
      expect(await stranger.check([stream], calm)).toMatchObject({ ok: true });
    },
  );

  ask.needing('catalogue')(
    'discover: every table once, with its columns and keys, and each can be read as suggested',
    async () => {
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
    },
  );

  ask(
    'discover: pages meet without a gap while tables come and go; a search is a plain substring',
    async () => {
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
    },
  );

  ask('resolve: what was left open is chosen, and said', async () => {
    const people = await subject().make(
      { name: 'chosen', columns: { id: 'integer', name: 'name', updated_at: 'stamp' }, key: ['id'] },
      [
        [1, 'a', at(1)],
        [2, 'b', at(2)],
      ],
    );
    const heap = await subject().make({ name: 'chosen_heap', columns: { k: 'integer', at: 'stamp' } }, [
      [1, stamp(1)],
    ]);
    const chosen = async (stream: Stream): Promise<unknown> => {
      const { mode, primaryKey, cursor, detectDeletes, notes } = await source().resolve(stream, calm);
      if (stream.mode === undefined) expect(notes.join(' ')).toContain(`Mode "${mode}" was chosen`);
      return [mode, primaryKey, cursor, detectDeletes];
    };
    const looks = expects.detectsDeletes;
    const cursor = 'updated_at';
    expect(await chosen(people.stream({ cursor }))).toEqual(['merge', ['id'], 'updated_at', looks]);
    expect(await chosen(people.stream({ cursor, deletes: 'ignore' }))).toEqual([
      'merge',
      ['id'],
      'updated_at',
      false,
    ]);
    expect(await chosen(people.stream())).toEqual(['replace', ['id'], null, false]);
    expect(await chosen(people.stream({ mode: 'merge' }))).toEqual(['merge', ['id'], null, looks]);
    expect(await chosen(heap.stream({ cursor: 'at' }))).toEqual(['append', [], 'at', false]);
    expect(await chosen(heap.stream({ cursor: 'at', primary_key: ['k'] }))).toEqual([
      'merge',
      ['k'],
      'at',
      looks,
    ]);
    const { columns } = await source().resolve(
      people.stream({ cursor, columns: { include: ['name'] } }),
      calm,
    );
    expect(columns.map(({ name }) => name)).toEqual(['id', 'name', 'updated_at']);
  });

  ask('resolve: what cannot work has a code and a hint that names what would', async () => {
    await using own = await fresh();
    const people = await own.make(
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
    const dup = await own.make({ name: 'dup', columns: { k: 'integer', l: 'integer', at: 'stamp' } }, [
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
    const { stream } = people;
    const bad: readonly (readonly [Stream, string, RegExp])[] = [
      [stream({ cursor: 'update_at' }), 'not_found_at_source', /updated_at/],
      [stream({ primary_key: ['idd'] }), 'not_found_at_source', /id/],
      [stream({ primary_key: ['id', 'id'] }), 'invalid_config', /once/],
      [stream({ columns: { include: ['nmae'] } }), 'not_found_at_source', /Name/],
      [
        stream({ columns: { include: ['id'], exclude: ['id'] }, mode: 'replace' }),
        'invalid_config',
        /columns/,
      ],
      [stream({ cursor: 'doc' }), 'cursor_invalid', /timestamp/],
      [stream({ mode: 'append' }), 'invalid_config', /"replace"/],
      [dup.stream({ mode: 'merge' }), 'invalid_config', /primary_key/],
      [dup.stream({ cursor: 'at', primary_key: ['k'] }), 'key_not_unique', /primary_key/],
      [dup.stream({ cursor: 'at', primary_key: ['k', 'l'] }), 'key_not_unique', /primary_key/],
      [stream({ cursor: 'updated_at', lookback: 5 }), 'invalid_config', /"5m"/],
      [stream({ cursor: 'id', lookback: '5m' }), 'invalid_config', /1000/],
      [stream({ lookback: '5m' }), 'invalid_config', /duration/],
      ...expects.refused.map(({ stream: own, code, hint }) => [{ name: 's', ...own }, code, hint] as const),
    ];
    for (const [declared, code, hint] of bad) {
      const error = await failure(asked.resolve(declared, calm));
      expect(error, JSON.stringify(declared)).toMatchObject({ code });
      expect(error.hint, JSON.stringify(declared)).toMatch(hint);
    }
    const shared = await failure(asked.resolve(dup.stream({ cursor: 'at', primary_key: ['k'] }), calm));
    expect(shared.message).toMatch(expects.shared);
  });

  ask('preview: the first rows, long values cut, nothing for a limit of nothing', async () => {
    const long = 1_000_000;
    const { columns, rows: wide } = held(
      expects,
      { id: 'integer', t: 'text', n: 'decimal', s: 'stamp', b: 'bytes' },
      numbered(5, (i) => [i, 'ä'.repeat(long), '1.5000', at(1), new Uint8Array(long).fill(0xab)]),
    );
    const table = await subject().make({ name: 'look', columns, key: ['id'] }, wide);
    const stream = await source().resolve(table.stream(), calm);
    const rows = await source().preview(stream, 3, calm);
    const cut = [new Uint8Array(2000).fill(0xab)].slice(0, Object.keys(columns).length - 4);
    expect(rows).toEqual(numbered(3, (i) => [i, 'ä'.repeat(2000), '1.5000', at(1), ...cut]));
    expect(await source().preview(stream, 0, calm)).toEqual([]);
  });

  const writesNothing = async (): Promise<void> => {
    const victim = await subject().make({ name: 'victim', columns: { id: 'integer' }, key: ['id'] }, [
      [1],
      [2],
    ]);
    const { username, password } = await sql().administrator();
    await using mighty = await subject().open({ username, password, pool: { min: 1, max: 1 } });
    const before = await subject().fingerprint([victim]);
    for (const { stream: text, harmless = false } of expects.hostile) {
      const told = JSON.stringify(text);
      const stream = {
        name: 'bad',
        mode: 'replace',
        ...(text.query === undefined ? { table: 'victim' } : {}),
        ...text,
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
  };
  ask.needing('sql')('no question writes anything, whatever the user has it ask', writesNothing, {
    timeout: 60_000,
  });

  ask('asking moves nothing: a position stays good through any number of questions', async () => {
    const table = await subject().make(
      { name: 'still', columns: { id: 'integer', at: 'stamp' }, key: ['id'] },
      numbered(100, (i) => [i, at(i)]),
    );
    const stream = table.stream({ cursor: 'at' });
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
