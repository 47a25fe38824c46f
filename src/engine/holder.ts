import { hostname } from 'node:os';

/** Who holds leases, so that another process on this host can see whether it is still there. */
export function holderName(random: () => number): string {
  return `${hostname()}:${process.pid}:${Math.floor(random() * 1e9).toString(36)}`;
}

/** True for a holder on this machine whose process no longer exists: nobody need wait for its leases to end. */
export function isGone(holder: string): boolean {
  const [host, pid] = holder.split(':');
  if (host !== hostname() || pid === undefined) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
