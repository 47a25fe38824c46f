import { registerHooks } from 'node:module';

/**
 * Preloaded into a Millrace process (`NODE_OPTIONS=--import …?mark` or `…?overlap`), its worker threads included, by the
 * controls of the REST kill suite: the mark goes to the highest value seen, or pages do not overlap, as in tools that
 * lose rows. The program itself has no such switch.
 */
const PROTECTIONS: Readonly<
  Record<string, { readonly file: string; readonly on: string; readonly off: string }>
> = {
  '?mark': {
    file: '/connectors/rest-api/high-mark.ts',
    on: 'if (seen.high === null) return mark;',
    off: 'return seen.high ?? mark;',
  },
  '?overlap': {
    file: '/connectors/rest-api/lists.ts',
    on: 'keyed: key.length > 0 && keepsRecords(plan),',
    off: 'keyed: false,',
  },
};

const protection = PROTECTIONS[new URL(import.meta.url).search];
if (protection === undefined) throw new Error('which protection is to be switched off?');
const { file, on, off } = protection;

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.endsWith(file)) return loaded;
    const source = String(loaded.source);
    if (!source.includes(on))
      throw new Error('the protection has changed: the control does not know how to switch it off');
    return { ...loaded, source: source.replace(on, off) };
  },
});
