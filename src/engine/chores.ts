/** Something that one process of all does now and then: a health check, sweeping old runs, delivering alerts. */
export interface Chore {
  readonly name: string;
  /** Whether it is to begin now. `last` is when this process last began it, or when it took over the chores. */
  due(now: Date, last: Date): boolean;
  /** Aborted when the process leaves or another one has the chores: it then ends soon. What it throws is logged. */
  run(signal: AbortSignal): Promise<void>;
}

export interface Chores {
  /** Begins each chore that is due and not under way, and waits for none. */
  look(signal: AbortSignal): void;
  /** Resolves when none is under way. */
  ended(): Promise<void>;
}

export interface ChoresParts {
  readonly chores: readonly Chore[];
  readonly now: () => Date;
  readonly onFault: (detail: string) => void;
}

/** `due` of a chore that comes each so many milliseconds; at once when the clock was put back. */
export function every(ms: number): Chore['due'] {
  return (now, last) => Math.abs(now.getTime() - last.getTime()) >= ms;
}

/** The chores of whoever holds the duty: each for itself, so that none waits for another, and never one twice at once. */
export function createChores({ chores, now, onFault }: ChoresParts): Chores {
  const last = new Map<string, Date>();
  const running = new Map<string, Promise<void>>();

  const begin = (chore: Chore, signal: AbortSignal): void => {
    const work = chore
      .run(signal)
      .catch((error: unknown) => {
        if (!signal.aborted) onFault(`chore ${chore.name}: ${String(error)}`);
      })
      .finally(() => running.delete(chore.name));
    running.set(chore.name, work);
  };

  return {
    look(signal) {
      const at = now();
      for (const chore of chores) {
        const before = last.get(chore.name) ?? at;
        if (!last.has(chore.name)) last.set(chore.name, at);
        if (signal.aborted || running.has(chore.name) || !chore.due(at, before)) continue;
        last.set(chore.name, at);
        begin(chore, signal);
      }
    },
    async ended() {
      await Promise.all(running.values());
    },
  };
}
