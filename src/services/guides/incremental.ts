import type { Mode, Stream } from '../../core/model.ts';
import type { GuideView } from '../services.ts';

/** What a mode is for; a mode that is added is a type error here until it is explained. */
const modes: Readonly<Record<Mode, string>> = {
  merge:
    'a key and a cursor. One row a key, the newest; every row exactly once, after crashes and retries too. Deleted rows are found by count and marked in _mr_deleted_at.',
  append:
    'a cursor and no key. Every row read, in the order of the cursor; exactly once while the source only adds rows. A changed row is added beside its old self.',
  replace:
    'neither. The whole table each time, built aside, counted, and swapped in at once. Deletions show; the cost is a full read.',
};

const examples: readonly { readonly shows: string; readonly stream: Stream }[] = [
  {
    shows: 'rows that change, with a key and a time of change',
    stream: { name: 'orders', table: 'public.orders', cursor: 'updated_at', primary_key: ['id'] },
  },
  {
    shows: 'events that are only added, without a key',
    stream: { name: 'events', table: 'public.events', mode: 'append', cursor: 'id' },
  },
  {
    shows: "a clock that is not the database's: read ten minutes again each time",
    stream: {
      name: 'payments',
      table: 'public.payments',
      cursor: 'changed_at',
      primary_key: ['id'],
      lookback: '10m',
    },
  },
  {
    shows: 'a small list, always whole',
    stream: { name: 'countries', table: 'public.countries', mode: 'replace' },
  },
];

const intro = `# Loading incrementally

A run reads what changed since the last one; the position is kept with the rows, in one transaction. discover_streams suggests the cursor and the key with reasons and risks; preview_stream shows the table that would be written.

**Which mode** (chosen for you when absent, and said):`;

const rules = `**The cursor** is a column that grows with every change: a time of change, or a sequence where rows are only added. It should have an index. A change that does not move it is not seen: \`full_refresh\` repairs that once, another cursor for good.

**Late commits.** A row can be committed after a younger one was read. The mark waits for transactions that are still open; \`guard\` in a run says which protection was in force. Where the login may not see transactions (MySQL without PROCESS, replicas), part is read again instead, and the run says so.

**lookback** ("5m", or a number for numeric cursors) reads that much again each time: for clocks of applications, sequences given out of order, replicas as source.

**Deletions.** With merge, \`deletes\` is "detect" unless set to "ignore". Only a complete scan ever marks a row deleted.

**Shrinking.** A replace that comes back much smaller than before is refused as \`shrink_refused\`; look at the source, then sync_connector with full_refresh when it is right.

**Again from the start**: sync_connector {"connector": "…", "streams": ["…"], "full_refresh": true}. The old table stays until the new one is complete.`;

/** How a stream is kept fresh. */
export const incrementalGuide: GuideView = {
  topic: 'incremental',
  title: 'Incremental loading: modes, cursors, guards, deletions',
  text: [
    intro,
    Object.entries(modes)
      .map(([mode, what]) => `- \`${mode}\`: ${what}`)
      .join('\n'),
    rules,
    'Streams as register_connector and update_connector (add_streams) take them:',
    ...examples.map(({ shows, stream }) => `- ${shows}: \`${JSON.stringify(stream)}\``),
  ].join('\n\n'),
};
