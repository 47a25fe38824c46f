import { MillraceError } from '../core/errors.ts';
import { type KeptKeys, newKey } from './key-file.ts';
import type { KeyRing } from './key-ring.ts';
import { type MasterKey, openValue, type SealedValue, sealValue } from './seal.ts';
import type { SealedValues } from './vault.ts';

export interface RotateOptions {
  /** Hears how many values were sealed anew so far. */
  readonly onProgress?: (sealed: number) => void;
}

/** What a rotation came to. */
export interface Rotation {
  /** The key that seals from now on. */
  readonly keyId: string;
  /** True when an earlier rotation that was interrupted was brought to its end, and no further key was made. */
  readonly resumed: boolean;
  /** Values sealed anew. */
  readonly sealed: number;
  /** Keys that nothing needs any more; they are gone from `master.key`. */
  readonly retired: readonly string[];
  /** Owners whose value did not open with any key that is here, as they are; their keys stay. */
  readonly unreadable: readonly string[];
}

/** So many values are exchanged in one transaction: a few milliseconds, and one wait for the disk. */
const PAGE = 100;

/**
 * Every step leaves all values readable, whenever the process dies:
 *
 * 1. the new key stands beside the old ones in `master.key`, durably, before anything is sealed by it;
 * 2. a value is exchanged only for itself (compare and set), so what somebody stores meanwhile is not overwritten;
 * 3. a key is retired in the store, in a transaction that finds nothing stored which needs it; from then on the store
 *    refuses what is still sealed by it, and whoever sealed it reads the ring again;
 * 4. only then is the key taken out of `master.key`.
 *
 * Changing the key without this orphaned every credential elsewhere (n8n-io/n8n#22478). Throws `invalid_config` when the
 * key is set from outside and nothing is left to do, `secret_missing` without any key.
 */
export async function rotateKey({
  ring,
  secrets,
  onProgress,
}: RotateOptions & { readonly ring: KeyRing; readonly secrets: SealedValues }): Promise<Rotation> {
  const { active, resumed } = await beginRotation(ring, secrets);
  const unreadable: string[] = [];
  let sealed = 0;
  for (let after = ''; ; ) {
    const page = await secrets.sealedByOthers(active.id, { after, limit: PAGE });
    const pairs = page.flatMap((from) => {
      const text = openedBy(ring, from);
      if (text === null) unreadable.push(from.owner);
      return text === null ? [] : [{ from, to: sealValue(active, from.owner, text) }];
    });
    sealed += await secrets.exchange(pairs);
    const last = page.at(-1);
    if (last === undefined) break;
    after = last.owner;
    onProgress?.(sealed);
  }
  return {
    keyId: active.id,
    resumed,
    sealed,
    retired: await retireOthers(active, ring, secrets),
    unreadable,
  };
}

/** The key to seal everything with: a new one, or that of a rotation that was not brought to its end. */
async function beginRotation(
  ring: KeyRing,
  secrets: SealedValues,
): Promise<{ readonly active: MasterKey; readonly resumed: boolean }> {
  const kept = ring.file.read();
  const used = (await secrets.keyIds()).map(({ keyId }) => keyId);
  if (ring.given !== null) {
    const { given } = ring;
    const hasOthers = (kept !== null && kept.keys.size > 0) || used.some((id) => id !== given.id);
    if (!hasOthers) throw setOutside();
    return { active: given, resumed: true };
  }
  if (kept === null) throw noFile();
  if (await isUnfinished(kept, ring, secrets)) return { active: kept.active, resumed: true };
  const active = newKey();
  // Read once more: what another rotation has put there since is needed by what it seals.
  const now = ring.file.read() ?? kept;
  ring.file.replace({ active, keys: new Map([...now.keys, [active.id, active]]) });
  return { active, resumed: false };
}

/**
 * Whether an earlier rotation has work left: a key that nothing needs stands in the file, or a value by an older key opens.
 * One that does not open keeps its key and is no reason to make no new one for ever.
 */
async function isUnfinished(kept: KeptKeys, ring: KeyRing, secrets: SealedValues): Promise<boolean> {
  const used = new Set((await secrets.keyIds()).map(({ keyId }) => keyId));
  if ([...kept.keys.keys()].some((id) => id !== kept.active.id && !used.has(id))) return true;
  for (let after = ''; ; ) {
    const page = await secrets.sealedByOthers(kept.active.id, { after, limit: PAGE });
    if (page.some((value) => openedBy(ring, value) !== null)) return true;
    const last = page.at(-1);
    if (last === undefined) return false;
    after = last.owner;
  }
}

function openedBy(ring: KeyRing, value: SealedValue): string | null {
  const key = ring.key(value.keyId);
  return key === undefined ? null : openValue(key, value);
}

/** The file's own active key stays, even where another that is set from outside seals in its place. */
async function retireOthers(
  active: MasterKey,
  ring: KeyRing,
  secrets: SealedValues,
): Promise<readonly string[]> {
  const kept = ring.file.read();
  if (kept === null) return [];
  const retired: string[] = [];
  for (const id of kept.keys.keys()) {
    if (id !== active.id && id !== kept.active.id && (await secrets.retire(id))) retired.push(id);
  }
  const now = ring.file.read() ?? kept;
  if (retired.length > 0) {
    const keys = new Map([...now.keys].filter(([id]) => !retired.includes(id)));
    ring.file.replace({ active: now.active, keys });
  }
  return retired;
}

function setOutside(): MillraceError {
  return new MillraceError(
    'invalid_config',
    'The key is set by MILLRACE_MASTER_KEY, so only whoever sets it can change it.',
    {
      hint: 'Make a new key with `openssl rand -base64 32`, set MILLRACE_MASTER_KEY to it and MILLRACE_MASTER_KEY_PREVIOUS to the present one for all processes, and run `millrace key rotate` again. Afterwards the previous one is needed no more.',
      who: 'administrator',
    },
  );
}

function noFile(): MillraceError {
  return new MillraceError('secret_missing', 'There is no master.key to rotate.', {
    hint: 'Put master.key back into the data folder from a backup. A new data folder gets one with the first start.',
    who: 'administrator',
  });
}
