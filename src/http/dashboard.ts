import type { Run } from '../core/model.ts';
import type { ConnectorSummary, HealthReport, Services } from '../services/services.ts';
import { escaped, htmlPage } from './html.ts';
import type { Answer } from './reply.ts';

const connectorsMax = 100;
const runsMax = 30;
const refreshSeconds = 15;

const style = `
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
td.n { text-align: right; font-variant-numeric: tabular-nums; } .muted { opacity: .65; }
.word { font-weight: 600; } .healthy, .succeeded { color: #1a7f37; } .degraded, .partial { color: #9a6700; } .failing, .failed { color: #cf222e; }
`;

/** How everything stands, for a person with a browser: one page without scripts that changes nothing. */
export async function dashboardPage({
  health,
  connectors,
  runs,
}: Pick<Services, 'health' | 'connectors' | 'runs'>): Promise<Answer> {
  const report = await health.get();
  const page = await connectors.list({ limit: connectorsMax });
  const recent = await runs.list({ limit: runsMax });
  const body = [
    `<h1>Millrace is <span class="word ${report.status}">${report.status}</span></h1>`,
    reasonsOf(report),
    `<h2>Connectors</h2>`,
    connectorTable(page.items),
    page.next_cursor === undefined
      ? ''
      : `<p class="muted">The first ${connectorsMax}; list_connectors pages through all.</p>`,
    `<h2>Recent runs</h2>`,
    runTable(recent.items),
    `<p class="muted">${escaped(report.scheduler.detail)} ${megabytes(report.storage.free_bytes)} MB free in ${escaped(report.storage.data_dir)}.</p>`,
  ].join('\n');
  return htmlPage(200, {
    title: `Millrace: ${report.status}`,
    style,
    body,
    headers: { refresh: String(refreshSeconds) },
  });
}

function reasonsOf({ reasons }: HealthReport): string {
  if (reasons.length === 0) return '<p class="muted">Nothing to see to.</p>';
  return `<ul>${reasons.map((reason) => `<li>${escaped(reason)}</li>`).join('')}</ul>`;
}

function connectorTable(connectors: readonly ConnectorSummary[]): string {
  if (connectors.length === 0) return '<p class="muted">None yet: register_connector makes one.</p>';
  const rows = connectors.map((one) => {
    const last = one.last_run;
    return `<tr><td>${escaped(one.name)}</td><td>${escaped(one.type)}</td><td class="${one.health}">${one.health}${one.enabled ? '' : ' (off)'}</td><td class="n">${one.streams.length}</td><td>${last === undefined ? '' : `<span class="${last.status}">${last.status}</span> ${time(last.finished_at)}`}</td><td>${time(one.next_run_at)}</td></tr>`;
  });
  return `<table><tr><th>name<th>type<th>health<th>streams<th>last run<th>next run</tr>${rows.join('')}</table>`;
}

function runTable(runs: readonly Run[]): string {
  if (runs.length === 0) return '<p class="muted">None yet.</p>';
  const rows = runs.map(
    (run) =>
      `<tr><td>${escaped(run.connector)}</td><td class="${run.status}">${run.status}</td><td>${time(run.queued_at)}</td><td class="n">${run.duration_ms ?? ''}</td><td class="n">${run.totals.rows_written}</td><td class="n">${run.totals.rejects}</td><td>${escaped(run.error === undefined ? '' : `${run.error.code}: ${run.error.message}`)}</td></tr>`,
  );
  return `<table><tr><th>connector<th>status<th>queued<th>ms<th>rows written<th>rejects<th>error</tr>${rows.join('')}</table>`;
}

function time(iso: string | undefined): string {
  return iso === undefined ? '' : `<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')}</time>`;
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1024 / 1024);
}
