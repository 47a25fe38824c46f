import { hostname } from 'node:os';

/** A name for this process in the store's leases: no other has it, and others on this machine can see whether it lives. */
export function holderName(random: () => number): string {
  return `${hostname()}:${process.pid}:${Math.floor(random() * 1e9).toString(36)}`;
}

/** True for a holder on this machine whose process no longer exists: nobody need wait for its leases to end. */
export function isGone(holder: string): boolean {
  const { host, pid } = holderParts(holder);
  if (host !== hostname() || pid === null) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** What a holder's name says; a pid of null when it is not one of ours. */
export function holderParts(holder: string): { readonly host: string; readonly pid: number | null } {
  const [host = '', pid = ''] = holder.split(':');
  return { host, pid: /^\d+$/.test(pid) ? Number(pid) : null };
}
