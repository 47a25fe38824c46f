import { describe, expect, test } from 'vitest';
import { Pool, type PooledSession } from '../../src/connectors/sql/pool.ts';
import { calm, failure } from '../contract/reading-support.ts';

class Session implements PooledSession {
  usable = true;
  async close(): Promise<void> {
    this.usable = false;
  }
  destroy(): void {
    this.usable = false;
  }
}

const opened = (): Pool<Session> => new Pool({ min: 1, max: 1, open: async () => new Session() });
const turn = (): Promise<void> => new Promise((settle) => setImmediate(settle));

describe('who waits for a session', () => {
  test.each<readonly [string, (giveUp: () => void, release: () => void) => Promise<void>]>([
    [
      'before it comes',
      async (giveUp, release) => {
        giveUp();
        await turn();
        release();
      },
    ],
    [
      'at the moment it comes',
      async (giveUp, release) => {
        release();
        giveUp();
      },
    ],
  ])('and gives up %s lets the next one have it', async (_, happen) => {
    await using pool = opened();
    const held = await pool.acquire(calm);
    const impatient = new AbortController();
    const first = failure(pool.acquire(impatient.signal));
    const second = pool.acquire(calm);
    await turn();
    await happen(
      () => impatient.abort(),
      () => pool.release(held, true),
    );
    expect(await first).toMatchObject({ code: 'cancelled' });
    await turn();
    const got = await Promise.race([second, turn()]);
    expect(got).toBe(held);
  });
});
