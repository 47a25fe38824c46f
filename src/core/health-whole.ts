/** How the installation is: disk, store, scheduler, alerts. Connectors are judged on their own (`health.ts`). */

import type { Finding } from './health.ts';

/** What is known of the program itself and of the machine under it. */
export interface InstallationFacts {
  readonly freeBytes: number;
  /** Of the whole file system. */
  readonly diskBytes: number;
  readonly storeBytes: number;
  /** Why what has landed cannot be read. */
  readonly unreadable?: { readonly message: string; readonly hint: string };
  /** Enabled connectors with a schedule. */
  readonly scheduled: number;
  readonly scheduler: { readonly enabled: boolean; readonly detail: string };
  /** Alerts whose delivery has failed so far. */
  readonly undelivered: { readonly alerts: number; readonly error?: string };
}

const MB = 2 ** 20;
/** Below this much free space a sync may fail at any time; on a disk that is small itself, below a tenth of it. */
const lowDisk = { bytes: 512 * MB, share: 0.1 };
/** Below this the next write may be the one that fails. */
const fullDisk = { bytes: 64 * MB, share: 0.02 };
/** Of settings, history and logs: retention keeps them far below. */
const storeBytesMax = 2048 * MB;

/** What is not as it should be with the installation. */
export function installationFindings(facts: InstallationFacts): readonly Finding[] {
  return [disk, store, warehouse, scheduler, alerts].flatMap((rule) => rule(facts) ?? []);
}

/** Whether there is so little space that a sync may fail. */
export function isDiskLow(disk: Pick<InstallationFacts, 'freeBytes' | 'diskBytes'>): boolean {
  return isBelow(disk, lowDisk);
}

function isBelow(
  { freeBytes, diskBytes }: Pick<InstallationFacts, 'freeBytes' | 'diskBytes'>,
  { bytes, share }: typeof lowDisk,
): boolean {
  return freeBytes < Math.min(bytes, diskBytes * share);
}

function disk(facts: InstallationFacts): Finding | undefined {
  const { freeBytes } = facts;
  if (!isDiskLow(facts)) return undefined;
  const full = isBelow(facts, fullDisk);
  return {
    health: full ? 'failing' : 'degraded',
    reason: `only ${size(freeBytes)} are free on the disk of the data folder${full ? ', so that runs fail or stand still' : ''}: free space there (\`df -h\` shows it), or move the folder and start with --data-dir; what was interrupted goes on by itself`,
    actions: [],
  };
}

function store({ storeBytes }: InstallationFacts): Finding | undefined {
  if (storeBytes <= storeBytesMax) return undefined;
  return {
    health: 'degraded',
    reason: `store.db has grown to ${size(storeBytes)}: lower runs.keepDays or runs.keepRuns in the config file and restart`,
    actions: [],
  };
}

function warehouse({ unreadable }: InstallationFacts): Finding | undefined {
  if (unreadable === undefined) return undefined;
  const { message, hint } = unreadable;
  return {
    health: 'failing',
    reason: `what has landed cannot be read, and how many rows stand aside is not known: ${message} ${hint}`,
    actions: [],
  };
}

function scheduler({ scheduled, scheduler: { enabled, detail } }: InstallationFacts): Finding | undefined {
  if (enabled || scheduled === 0) return undefined;
  const what = scheduled === 1 ? '1 connector has a schedule' : `${scheduled} connectors have a schedule`;
  return { health: 'degraded', reason: `${what} and nothing starts it: ${detail}`, actions: [] };
}

function alerts({ undelivered }: InstallationFacts): Finding | undefined {
  if (undelivered.alerts === 0) return undefined;
  const why = undelivered.error === undefined ? '' : ` (${undelivered.error})`;
  return {
    health: 'degraded',
    reason: `${undelivered.alerts} ${undelivered.alerts === 1 ? 'alert was' : 'alerts were'} not taken by alerts.webhook yet${why}; they are tried again`,
    actions: [],
  };
}

function size(bytes: number): string {
  const mb = bytes / MB;
  return mb >= 10 || Number.isInteger(mb) ? `${Math.round(mb)} MB` : `${mb.toFixed(1)} MB`;
}
