import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Run } from '../core/model.ts';
import type { Services } from '../services/services.ts';
import type { Answer } from './reply.ts';

export interface Metrics extends Disposable {
  scrape(): Promise<Answer>;
}

const secondsBuckets = [0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 7_200];

/**
 * What Prometheus scrapes. Counters count the runs that this process carried out, so that the sum over all processes is
 * right; gauges say how things stand for all of them. Names of connectors are labels, names of streams and hosts are not.
 */
export function createMetrics({
  services,
  sessions,
}: {
  readonly services: Pick<Services, 'health' | 'runs'>;
  readonly sessions: () => number;
}): Metrics {
  const register = new Registry();
  collectDefaultMetrics({ register, prefix: 'millrace_' });
  const registers = [register];
  const runs = new Counter({
    name: 'millrace_runs_total',
    help: 'Runs that this process brought to an end',
    labelNames: ['connector', 'status'] as const,
    registers,
  });
  const rows = new Counter({
    name: 'millrace_rows_total',
    help: 'Rows of those runs',
    labelNames: ['connector', 'kind'] as const,
    registers,
  });
  const duration = new Histogram({
    name: 'millrace_run_duration_seconds',
    help: 'From the start of a run to its end',
    labelNames: ['connector'] as const,
    buckets: secondsBuckets,
    registers,
  });
  const status = new Gauge({
    name: 'millrace_runs',
    help: 'Runs in the history',
    labelNames: ['status'] as const,
    registers,
  });
  const health = new Gauge({
    name: 'millrace_connectors',
    help: 'Connectors by health',
    labelNames: ['health'] as const,
    registers,
  });
  const open = new Gauge({
    name: 'millrace_breakers_open',
    help: 'Connectors that rest after failures',
    registers,
  });
  const scheduler = new Gauge({
    name: 'millrace_scheduler_enabled',
    help: '1 while some process starts runs on schedule',
    registers,
  });
  const bytes = new Gauge({
    name: 'millrace_storage_bytes',
    help: 'Sizes of the files, and free space',
    labelNames: ['what'] as const,
    registers,
  });
  new Gauge({
    name: 'millrace_mcp_sessions',
    help: 'Sessions of 2025 clients',
    registers,
    collect() {
      this.set(sessions());
    },
  });

  const ended = (run: Run): void => {
    const { connector, totals } = run;
    runs.inc({ connector, status: run.status });
    rows.inc({ connector, kind: 'read' }, totals.rows_read);
    rows.inc({ connector, kind: 'written' }, totals.rows_written);
    rows.inc({ connector, kind: 'deleted' }, totals.rows_deleted);
    rows.inc({ connector, kind: 'rejected' }, totals.rejects);
    if (run.duration_ms !== undefined) duration.observe({ connector }, run.duration_ms / 1000);
  };
  const stop = services.runs.onEnded(ended);

  const look = async (): Promise<void> => {
    const report = await services.health.get();
    for (const [name, count] of Object.entries(report.runs)) status.set({ status: name }, count);
    for (const [name, count] of Object.entries(report.by_health)) health.set({ health: name }, count);
    open.set(report.resting);
    scheduler.set(report.scheduler.enabled ? 1 : 0);
    bytes.set({ what: 'store' }, report.storage.store_bytes);
    bytes.set({ what: 'warehouse' }, report.storage.warehouse_bytes);
    bytes.set({ what: 'free' }, report.storage.free_bytes);
  };

  return {
    async scrape() {
      await look();
      return {
        status: 200,
        headers: { 'content-type': register.contentType },
        body: await register.metrics(),
      };
    },
    [Symbol.dispose]() {
      stop();
      register.clear();
    },
  };
}
