import type { HostServices } from './connector.ts';
import { createPoliteness } from './politeness.ts';

/**
 * The services of a source that no program stands around: turns among its own requests, secrets in memory. For a token
 * that must outlive the process that is not enough, so `save` of a rotated one is only as good as this process.
 */
export function createLoneHost(): HostServices {
  const kept = new Map<string, string>();
  const held = new Map<string, Promise<void>>();
  return {
    turn: createPoliteness(),
    secrets: {
      load: async (field) => kept.get(field) ?? null,
      save: async (field, value) => {
        kept.set(field, value);
      },
      async lock(field, signal) {
        while (held.has(field)) {
          await held.get(field);
          signal.throwIfAborted();
        }
        const { promise, resolve } = Promise.withResolvers<void>();
        held.set(field, promise);
        return () => {
          held.delete(field);
          resolve();
        };
      },
    },
  };
}
