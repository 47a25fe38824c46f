import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file system of a few megabytes that can be filled and emptied. */
export interface SmallDisk extends Disposable {
  readonly path: string;
  /** Takes space until only about so many bytes are left; 0: until nothing more can be written. */
  fill(leaveBytes: number): void;
  /** Gives back what `fill` took. */
  free(): void;
}

const SHARED_MEMORY = '/dev/shm';
const SHARED_MEMORY_MAX = 256 * 2 ** 20;

/**
 * Mounts a tmpfs, as root. Where mounting is not allowed, a small /dev/shm (64 MB in a plain container) serves.
 * Throws, saying how to get either, when there is none.
 */
export function smallDisk(bytes: number): SmallDisk {
  const mounted = mkdtempSync(join(tmpdir(), 'millrace-disk-'));
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', mounted]).status === 0) {
    return disk(mounted, () => {
      spawnSync('umount', [mounted]);
      rmSync(mounted, { recursive: true, force: true });
    });
  }
  rmSync(mounted, { recursive: true });
  if (existsSync(SHARED_MEMORY)) {
    const { blocks, bsize } = statfsSync(SHARED_MEMORY);
    if (blocks * bsize <= SHARED_MEMORY_MAX) {
      const path = mkdtempSync(join(SHARED_MEMORY, 'millrace-disk-'));
      return disk(path, () => rmSync(path, { recursive: true, force: true }));
    }
  }
  throw new Error(
    'This test needs a small file system and may not mount one: run it as root (in a container with --cap-add SYS_ADMIN), ' +
      'or under `unshare --map-root-user --mount npm test`, or in a container with a /dev/shm of 64 MB.',
  );
}

function disk(path: string, remove: () => void): SmallDisk {
  mkdirSync(path, { recursive: true });
  const ballast = join(path, 'ballast');
  return {
    path,
    fill(leaveBytes) {
      const file = openSync(ballast, 'a');
      try {
        const block = Buffer.alloc(64 * 1024, 1);
        for (;;) {
          const { bavail, bsize } = statfsSync(path);
          const left = bavail * bsize - leaveBytes;
          if (left <= 0) return;
          writeSync(file, block, 0, Math.min(block.length, left));
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      } finally {
        closeSync(file);
      }
    },
    free: () => rmSync(ballast, { force: true }),
    [Symbol.dispose]: remove,
  };
}
