import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Page } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startChromium } from '../support/chromium.ts';
import { everyFile } from '../support/every-file.ts';
import { serve } from '../support/http-support.ts';
import { type MillraceProcess, startMillrace, temporaryDirectory } from '../support/millrace-process.ts';
import { freshDatabase } from '../support/postgres.ts';

/** The page of a secret as a person uses it: in a real browser, with scripts and without. */

const SECRET = `Tr0ub4dor&3 <"%2B+é'>`;
/** As it could stand somewhere: plainly, in a URL or a form, in JSON, in base64. */
const TRACES = [
  SECRET,
  'Tr0ub4dor',
  encodeURIComponent(SECRET),
  Buffer.from(SECRET).toString('base64').slice(0, 12),
];

const folder = temporaryDirectory();
const profile = join(folder.path, 'profile');
let browser: Browser;
let millrace: MillraceProcess;

beforeAll(async () => {
  [browser, millrace] = await Promise.all([
    startChromium(profile),
    startMillrace({ dataDir: folder.dataDir }),
  ]);
}, 180_000);

afterAll(async () => {
  await browser?.close();
  await millrace?.kill();
  folder[Symbol.dispose]();
});

async function askFor(name: string, config: object): Promise<string> {
  const { ask } = await millrace.must<{ ask: { url: string } }>('register_connector', {
    name,
    type: 'postgresql',
    config: { ...config, password: '${ask}' },
  });
  return ask.url;
}

/** Everything about a page that others may see or that stays behind: addresses, titles, history, what it wrote. */
async function witness(page: Page): Promise<() => Promise<string>> {
  const seen: string[] = [];
  page.on('request', (request) => seen.push(request.url(), request.headers()['referer'] ?? ''));
  page.on('console', (message) => seen.push(message.text()));
  page.on('response', (response) => seen.push(JSON.stringify(response.headers())));
  const devtools = await page.createCDPSession();
  return async () => {
    const { entries } = await devtools.send('Page.getNavigationHistory');
    return [...seen, page.url(), await page.title(), await page.content(), JSON.stringify(entries)].join(
      '\n',
    );
  };
}

describe.each([
  ['scripts', true],
  ['no scripts', false],
])('a browser with %s', (_what, scripts) => {
  test('a secret is typed and reaches the source; it is in no URL, log, history, title or message', async () => {
    await using database = await freshDatabase();
    const login = await database.role(SECRET);
    const name = scripts ? 'scripted' : 'plain';
    const url = await askFor(name, { ...database.config, username: login.username });
    const page = await browser.newPage();
    await page.setJavaScriptEnabled(scripts);
    await page.goto('data:text/html,<title>none</title><script>document.title = "run"</script>');
    expect(await page.title()).toBe(scripts ? 'run' : 'none');
    const traces = await witness(page);

    await page.goto(url);
    expect(await page.title()).toBe(`A secret for ${name}`);
    // The field has the focus, as a person finds it, and shows nothing of what is typed.
    await page.keyboard.type(SECRET);
    expect(await page.$eval('input:focus', (input) => input.getAttribute('type'))).toBe('password');
    const whileTyping = await traces();
    await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
    expect(await page.$eval('[role=status]', (said) => said.textContent)).toContain('It is sealed and kept.');
    const after = await traces();
    await page.reload();
    expect(await page.$$('form')).toHaveLength(0);

    expect(await millrace.must('test_connector', { connector: name })).toMatchObject({ ok: true });
    await millrace.must('get_connector', { connector: name });
    const everywhere = [
      whileTyping,
      after,
      await traces(),
      millrace.stdout(),
      millrace.stderr(),
      everyFile(folder.dataDir),
      everyFile(profile),
    ].join('\n');
    expect(everywhere).toContain(url);
    for (const trace of TRACES) expect(everywhere).not.toContain(trace);
    await page.close();
  });
});

test('another site can neither show the page nor send its form', async () => {
  const url = await askFor('guarded', { host: '127.0.0.1', port: 1, database: 'x', username: 'x' });
  const statuses: number[] = [];
  await using evil = await serve((_request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end(
      `<iframe src="${url}"></iframe><form method="post" action="${url}"><input name="secret0" value="theirs"><button>win</button></form>`,
    );
  });
  const page = await browser.newPage();
  // The cookie is there, as when the person has the page open.
  await page.goto(url);
  page.on('response', (response) => {
    if (response.request().method() === 'POST') statuses.push(response.status());
  });
  await page.goto(`http://localhost:${evil.port}/`);
  const frame = page.frames()[1];
  expect(await frame?.$$('form')).toHaveLength(0);
  await Promise.all([page.waitForNavigation(), page.click('button')]);
  expect(statuses).toEqual([403]);
  expect((await millrace.fails('test_connector', { connector: 'guarded' })).code).toBe('secret_missing');
  await page.close();
});

test('the browser did keep a profile where it was told to, so that looking there says something', () => {
  expect(readdirSync(profile).length).toBeGreaterThan(0);
});
