import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP, type Socket } from 'node:net';
import { MillraceError } from '../../../core/errors.ts';
import { createHostMatcher } from '../../../core/network.ts';
import { type AddressRules, type Target, targetOf } from './addresses.ts';

/** A proxy that opens tunnels (`CONNECT`), for `http` targets too: so it is told an address that was judged here. */
export interface ProxyPlace {
  readonly url: URL;
  /** The environment's is the administrator's, wherever it lies; a connector's own is judged as any other address. */
  readonly judged: boolean;
}

/**
 * Which proxy leads to a target: the connector's own, else the environment's (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`,
 * in either case). Throws `invalid_config` for one that is no http(s) URL.
 */
export function createProxyRule(
  own: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): (url: URL) => ProxyPlace | null {
  if (own !== undefined) {
    const proxy = { url: parseProxy(own), judged: true };
    return () => proxy;
  }
  const named = (name: string): URL | null => {
    const text = env[name.toLowerCase()] || env[name];
    return text ? parseProxy(text.includes('://') ? text : `http://${text}`) : null;
  };
  const https = named('HTTPS_PROXY');
  const http = named('HTTP_PROXY');
  const isExcepted = exceptions(env['no_proxy'] || env['NO_PROXY'] || '');
  return (url) => {
    const proxy = url.protocol === 'https:' ? https : http;
    return proxy === null || isExcepted(targetOf(url)) ? null : { url: proxy, judged: false };
  };
}

/** `example.com` there means what is below it as well, with or without a dot in front. */
function exceptions(text: string): (target: Target) => boolean {
  const entries = text
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .map((entry) => entry.replace(/^\*?\./, ''));
  if (entries.includes('*')) return () => true;
  const isNamed = createHostMatcher(entries.flatMap((entry) => [entry, `*.${entry}`]));
  return ({ host, port }) => isNamed(host, port);
}

function parseProxy(text: string): URL {
  const url = URL.parse(text);
  if (url && (url.protocol === 'http:' || url.protocol === 'https:')) return url;
  throw new MillraceError('invalid_config', 'The proxy is no http:// or https:// URL.', {
    hint: 'Write it as "http://proxy.example.com:3128", in the connector or in HTTPS_PROXY.',
  });
}

export interface TunnelOptions {
  readonly rules: AddressRules;
  readonly connectMs: number;
}

/**
 * A connection through the proxy. It is told the address that was judged here, for it would resolve the name a second
 * time, and perhaps differently; only a host that `allowPrivateHttp` names goes by its name.
 */
export async function openTunnel(proxy: ProxyPlace, target: Target, options: TunnelOptions): Promise<Socket> {
  const { rules, connectMs } = options;
  const place = rules.isTrusted(target) ? target.host : await judgedAddress(target, rules);
  const authority = `${isIP(place) === 6 ? `[${place}]` : place}:${target.port}`;
  const at = targetOf(proxy.url);
  if (proxy.judged) rules.assertUrl(new URL(proxy.url.origin));
  const request = proxy.url.protocol === 'https:' ? httpsRequest : httpRequest;
  return await new Promise<Socket>((settle, fail) => {
    const asking = request({
      method: 'CONNECT',
      host: at.host,
      port: at.port,
      path: authority,
      headers: { host: authority, ...credentials(proxy.url) },
      signal: AbortSignal.timeout(connectMs),
      ...(proxy.judged ? { lookup: rules.lookupFor(at) } : {}),
    });
    asking.on('connect', (response, socket) => {
      if (response.statusCode === 200) {
        settle(socket);
        return;
      }
      socket.destroy();
      fail(refused(at, authority, response.statusCode ?? 0));
    });
    asking.on('error', (error) => fail(error instanceof MillraceError ? error : unreachable(at, error)));
    asking.end();
  });
}

async function judgedAddress(target: Target, rules: AddressRules): Promise<string> {
  const addresses = await rules.resolve(target);
  // Many proxies have no way into IPv6.
  const chosen = addresses.find(({ family }) => family === 4) ?? addresses[0];
  if (chosen) return chosen.address;
  throw Object.assign(new Error('no address'), { code: 'ENOTFOUND' });
}

function credentials({ username, password }: URL): { readonly 'proxy-authorization'?: string } {
  if (username === '' && password === '') return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(pair).toString('base64')}` };
}

function refused({ host, port }: Target, authority: string, status: number): MillraceError {
  return new MillraceError(
    status === 407 ? 'auth_failed' : 'host_unreachable',
    `The proxy ${host}:${port} refused a tunnel to ${authority} (status ${status}).`,
    {
      hint:
        status === 407
          ? 'Give its credentials in the proxy URL: http://user:password@proxy:3128.'
          : 'It has to allow CONNECT to that address. A proxy that judges names only is told the name when millrace.network.allowPrivateHttp names the host.',
      who: 'administrator',
    },
  );
}

function unreachable({ host, port }: Target, cause: Error): MillraceError {
  return new MillraceError('host_unreachable', `The proxy ${host}:${port} cannot be reached.`, {
    hint: 'See that it runs, or correct HTTPS_PROXY (or the connector\'s "proxy"); NO_PROXY names hosts that need none.',
    who: 'administrator',
    cause,
  });
}
