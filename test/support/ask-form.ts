import { request as httpRequest } from 'node:http';

/** What a server answered, as it was. */
export interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface Asking {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A request as it is: `fetch` would not send another Host, and would follow where it is sent. */
export function ask(url: string, { method = 'GET', headers = {}, body }: Asking = {}): Promise<Answered> {
  const { promise, resolve, reject } = Promise.withResolvers<Answered>();
  const request = httpRequest(url, { method, headers: { ...headers }, agent: false }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (part) => (text += String(part)));
    response.on('end', () =>
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
    );
  });
  request.on('error', reject);
  request.end(body);
  return promise;
}

/** The page of a secret as a person's browser has it, without the browser. */
export interface OpenForm {
  readonly page: Answered;
  readonly headers: Readonly<Record<string, string>>;
  readonly fields: Readonly<Record<string, string>>;
}

/** Opens the page and remembers what a browser would send with its form. */
export async function openForm(url: string): Promise<OpenForm> {
  const page = await ask(url);
  const cookie = String(page.headers['set-cookie'] ?? '').split(';')[0] ?? '';
  const token = /name="token" value="([^"]+)"/.exec(page.body)?.[1] ?? '';
  return {
    page,
    headers: { 'content-type': 'application/x-www-form-urlencoded', cookie },
    fields: { token },
  };
}

/** Types into the page and sends it, as a browser does; the page that comes then. */
export async function type(url: string, ...secrets: readonly string[]): Promise<Answered> {
  const { headers, fields } = await openForm(url);
  const typed = Object.fromEntries(secrets.map((secret, index) => [`secret${index}`, secret]));
  const body = new URLSearchParams({ ...fields, ...typed }).toString();
  const sent = await ask(url, { method: 'POST', headers, body });
  return sent.status === 303 ? await ask(new URL(String(sent.headers['location']), url).href) : sent;
}
