import { registerHooks } from 'node:module';

/**
 * Preloaded into a Millrace process (`NODE_OPTIONS=--import …`), its worker threads included, by lanes of the kill
 * suite: a snapshot is given up after every few hundred rows, so that what an hour's load meets happens in a second.
 * The program itself has no such switch.
 */
const PACE: readonly (readonly [usual: string, small: string])[] = [
  ['snapshotMs: 10_000', 'snapshotMs: 0'],
  ['firstRows: 20_000', 'firstRows: 500'],
  ['rowsMax: 1_000_000', 'rowsMax: 500'],
];

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.endsWith('/connectors/mysql/snapshot.ts')) return loaded;
    let source = String(loaded.source);
    for (const [usual, small] of PACE) {
      if (!source.includes(usual))
        throw new Error(`the pace has changed (${usual}): nobody knows how to make it small`);
      source = source.replace(usual, small);
    }
    return { ...loaded, source };
  },
});
