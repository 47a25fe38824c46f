import { registerHooks } from 'node:module';

/**
 * Preloaded (`NODE_OPTIONS=--import=<this file>`): the program finds no better-sqlite3, as in a `.mcpb` bundle, and
 * tests look at its files by Node's own library too. The query process, which has no environment, is told by its
 * arguments.
 */
const QUERY_ARGUMENTS = "execArgv: ['--max-old-space-size=256'";

registerHooks({
  resolve(specifier, context, nextResolve) {
    if (specifier !== 'better-sqlite3') return nextResolve(specifier, context);
    if (context.parentURL?.endsWith('/src/sqlite.ts'))
      throw Object.assign(new Error('left out for this test'), { code: 'ERR_MODULE_NOT_FOUND' });
    return nextResolve(new URL('./better-by-node.ts', import.meta.url).href, context);
  },
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.endsWith('/query-process.ts')) return loaded;
    const source = String(loaded.source);
    if (!source.includes(QUERY_ARGUMENTS))
      throw new Error('how the query process starts has changed: it cannot be told what it shall not find');
    const told = `${QUERY_ARGUMENTS}, ${JSON.stringify(`--import=${import.meta.url}`)}`;
    return { ...loaded, source: source.replace(QUERY_ARGUMENTS, told) };
  },
});
