import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Secret } from '../../src/core/redact.ts';
import { createLog, type LogStream } from '../../src/log.ts';

function memory(): LogStream & {
  readonly lines: () => readonly Record<string, unknown>[];
  waiting: number;
  fail(): void;
} {
  const texts: string[] = [];
  let listener: (error: Error) => void = () => undefined;
  return {
    waiting: 0,
    get writableLength() {
      return this.waiting;
    },
    write: (text) => texts.push(text),
    on: (_event, heard) => {
      listener = heard;
    },
    fail: () => listener(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })),
    lines: () => texts.map((text) => JSON.parse(text) as Record<string, unknown>),
  };
}

describe('the log', () => {
  test('writes one JSON line an event, at its level and above', () => {
    const stream = memory();
    const log = createLog({ level: 'info', stream });
    log.debug({ event: 'unheard' });
    log.info({ event: 'run_started', run_id: 'r1', rows: 3 }, 'a run started\nin two lines');
    expect(stream.lines()).toEqual([
      {
        level: 'info',
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        pid: process.pid,
        event: 'run_started',
        run_id: 'r1',
        rows: 3,
        msg: 'a run started\nin two lines',
      },
    ]);
  });

  test('shows no secret, wherever somebody put one', () => {
    const stream = memory();
    const log = createLog({ level: 'trace', stream });
    const driver = Object.assign(new Error('no route to postgres://u:hunter2@h/d'), {
      code: 'EHOSTUNREACH',
      config: { password: 'hunter2' },
    });
    log.error({
      event: 'fault',
      error: driver,
      config: { nested: [{ password: 'hunter2' }] },
      secret: new Secret('hunter2'),
    });
    log.error(driver, 'while connecting to mysql://u:hunter2@h/d');
    log.error({ err: driver });
    log.info('password=hunter2');
    log.info('%s and %j', 'postgres://u:hunter2@h/d', { token: 'hunter2' });
    const lines = stream.lines();
    expect(lines).toHaveLength(5);
    expect(JSON.stringify(lines)).not.toContain('hunter2');
    expect(lines[0]).toMatchObject({
      error: { code: 'EHOSTUNREACH', message: 'no route to postgres://u:••••@h/d' },
    });
    expect(lines[1]).toMatchObject({
      error: { code: 'EHOSTUNREACH' },
      msg: 'while connecting to mysql://u:••••@h/d',
    });
  });

  test('drops lines when nobody reads, counts them, and says so', () => {
    const stream = memory();
    const log = createLog({ level: 'info', stream });
    stream.waiting = 2_000_000;
    for (let line = 0; line < 5; line += 1) log.info('unheard');
    stream.waiting = 0;
    log.info('heard');
    expect(stream.lines()).toMatchObject([{ event: 'log_lines_dropped', lines: 5 }, { msg: 'heard' }]);
  });

  test('goes on without words when stderr is gone', () => {
    const stream = memory();
    const log = createLog({ level: 'info', stream });
    stream.fail();
    log.info('to nobody');
    expect(stream.lines()).toEqual([]);
  });
});

/** A process that logs 4 MB and then answers on stdout and exits. */
function chatter(): ReturnType<typeof spawn> {
  const code = `
    import { createLog } from ${JSON.stringify(join(import.meta.dirname, '../../src/log.ts'))};
    const log = createLog({ level: 'info' });
    const go = () => {
      for (let line = 0; line < 4_000; line += 1) log.info({ event: 'chatter', filler: 'x'.repeat(1_000) });
      setTimeout(() => { process.stdout.write('done', () => process.exit(0)); }, 50);
    };
    process.stdin.once('data', go);`;
  return spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['pipe', 'pipe', 'pipe'] });
}

describe('a real process', () => {
  test.each([
    ['that nobody reads', false],
    ['that was closed', true],
  ])(
    'with a stderr %s answers and exits',
    async (_what, close) => {
      const child = chatter();
      if (close) child.stderr?.destroy();
      child.stdin?.write('go');
      let answer = '';
      child.stdout?.on('data', (data: Buffer) => {
        answer += String(data);
      });
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      const code = await new Promise((done) => child.on('exit', done));
      clearTimeout(timer);
      expect({ answer, code }).toEqual({ answer: 'done', code: 0 });
    },
    20_000,
  );
});
