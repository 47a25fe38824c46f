import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { MillraceError } from '../../../core/errors.ts';
import { createAllowRule, createHostMatcher } from '../../../core/network.ts';
import type { NetworkRules } from '../../connector.ts';

/** Which addresses HTTP may reach (contract §2). Everything that connects asks here, for each connection. */
export interface AddressRules {
  /** Judges what can be judged without asking DNS: scheme, credentials, the name, an address written out. Throws. */
  assertUrl(url: URL): void;
  /** Judges one address that a name stands for. Throws `host_not_allowed`. */
  assertAddress(address: string, target: Target): void;
  /** Whether `allowPrivateHttp` names this host itself, so that it is trusted to lie anywhere private. */
  isTrusted(target: Target): boolean;
  /** All addresses of the name, each judged: what connects uses these and asks no second time. */
  resolve(target: Target): Promise<readonly LookupAddress[]>;
  /** The same for `net.connect`: between the judgement and the connection nobody resolves again. */
  lookupFor(target: Target): LookupFunction;
}

export interface Target {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** How names become addresses; the system's own way when absent. */
export type Resolve = (
  name: string,
  done: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** Rules made of `network.allow` and `network.allowPrivateHttp`. */
export function createAddressRules(network: NetworkRules, resolve: Resolve = systemResolve): AddressRules {
  const assertAllowed = createAllowRule(network.allow);
  const isNamed = createHostMatcher(network.allowPrivateHttp);

  const isTrusted = ({ host, port }: Target): boolean => isIP(host) === 0 && isNamed(host, port);

  const assertAddress = (address: string, target: Target): void => {
    const forms = formsOf(address);
    const kind = worst(forms.map(kindOf));
    if (kind.reach === 'public') return;
    if (forms.some((form) => isNamed(form, target.port))) return;
    // A name that somebody trusts may lie in any private network, but not where cloud metadata is: DNS is not theirs.
    if (kind.reach === 'private' && isTrusted(target)) return;
    throw forbidden(address, target, kind);
  };

  const resolveAll = (target: Target): Promise<readonly LookupAddress[]> =>
    new Promise((settle, fail) => {
      if (isIP(target.host) !== 0) {
        assertAddress(target.host, target);
        settle([{ address: target.host, family: isIP(target.host) }]);
        return;
      }
      resolve(target.host, (error, addresses) => {
        try {
          if (error) throw error;
          for (const { address } of addresses) assertAddress(address, target);
          settle(addresses);
        } catch (problem) {
          fail(problem);
        }
      });
    });

  return {
    assertUrl(url) {
      assertForm(url);
      const target = targetOf(url);
      assertAllowed(target.host, target.port);
      if (isIP(target.host) !== 0) assertAddress(target.host, target);
    },
    assertAddress,
    isTrusted,
    resolve: resolveAll,
    lookupFor: (target) => (_name, options, done) => {
      resolveAll(target).then(
        (addresses) => {
          const [first] = addresses;
          if (options.all === true) done(null, [...addresses]);
          else if (first) done(null, first.address, first.family);
          else done(Object.assign(new Error('no address'), { code: 'ENOTFOUND' }), '');
        },
        (error: NodeJS.ErrnoException) => done(error, ''),
      );
    },
  };
}

/** Host and port of a URL, as a connection needs them. WHATWG URLs have decimal, octal and hex forms undone already. */
export function targetOf(url: URL): Target {
  // A dot at the end says that the name is whole; rules are written without.
  const host = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
  return { host, port: Number(url.port) || (url.protocol === 'https:' ? 443 : 80) };
}

/** `localhost` and what is below it is loopback by definition (RFC 6761, 6.3), whatever a DNS server says. */
function systemResolve(name: string, done: Parameters<Resolve>[1]): void {
  if (/(^|\.)localhost$/i.test(name)) {
    done(null, [
      { address: '127.0.0.1', family: 4 },
      { address: '::1', family: 6 },
    ]);
    return;
  }
  systemLookup(name, { all: true, order: 'verbatim' }, done);
}

interface Kind {
  /** `private`: a network somebody may mean. `never`: only when the address itself is named. */
  readonly reach: 'public' | 'private' | 'never';
  readonly what: string;
}

const PUBLIC: Kind = { reach: 'public', what: 'public' };

/** The address, and the IPv4 address it carries inside where a gateway or the kernel would go on to that one. */
function formsOf(address: string): readonly string[] {
  const parsed = ipaddr.parse(address.replace(/%.*$/, ''));
  const own = parsed.toString();
  if (!(parsed instanceof ipaddr.IPv6)) return [own];
  const bytes = parsed.toByteArray();
  const inside = bytes.slice(12).join('.');
  if (parsed.isIPv4MappedAddress()) return [inside];
  // NAT64 (RFC 6052) is how IPv6-only networks reach every IPv4 host, so it is as good as the address inside it.
  return parsed.match(ipaddr.parseCIDR('64:ff9b::/96') as [ipaddr.IPv6, number]) ? [inside] : [own];
}

/** What is not known to be public is not: a list of the forbidden would miss the next special range. */
function kindOf(form: string): Kind {
  const parsed = ipaddr.parse(form);
  const range = parsed.range();
  if (range === 'unicast' && (parsed instanceof ipaddr.IPv4 || isGlobal(parsed as ipaddr.IPv6)))
    return PUBLIC;
  const what = NAMES[range] ?? 'reserved';
  return { reach: PRIVATE.has(range) ? 'private' : 'never', what };
}

/** 2000::/3 is all that IANA has given out; ::/96 and others that once carried IPv4 lie outside. */
function isGlobal(address: ipaddr.IPv6): boolean {
  return address.match(ipaddr.parseCIDR('2000::/3') as [ipaddr.IPv6, number]);
}

const PRIVATE: ReadonlySet<string> = new Set(['loopback', 'private', 'carrierGradeNat', 'uniqueLocal']);

const NAMES: Readonly<Record<string, string>> = {
  loopback: 'loopback',
  private: 'private',
  uniqueLocal: 'private',
  carrierGradeNat: 'carrier-grade NAT',
  linkLocal: 'link-local',
  multicast: 'multicast',
  unspecified: 'unspecified',
  broadcast: 'broadcast',
};

function worst(kinds: readonly Kind[]): Kind {
  return (
    kinds.find(({ reach }) => reach === 'never') ?? kinds.find(({ reach }) => reach === 'private') ?? PUBLIC
  );
}

function assertForm(url: URL): void {
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new MillraceError('host_not_allowed', `${url.protocol} is no scheme that Millrace follows.`, {
      hint: 'Use an address that begins with https:// or http://.',
    });
  }
  if (url.username !== '' || url.password !== '') {
    throw new MillraceError('invalid_config', `The address of ${url.host} carries credentials.`, {
      hint: 'Take them out of the URL and give them as "auth": {"type": "basic", "username": "…", "password": "${env:NAME}"}.',
    });
  }
}

function forbidden(address: string, { host, port }: Target, { what, reach }: Kind): MillraceError {
  const resolved = address === host ? '' : ` (${address})`;
  // A name opens private networks; everything else has to be named by its address.
  const entry = reach === 'private' ? host : address;
  return new MillraceError(
    'host_not_allowed',
    `${bracketed(host)}:${port}${resolved} is a ${what} address, which HTTP may not reach.`,
    {
      hint: `If that is meant, add "${bracketed(entry)}:${port}" to millrace.network.allowPrivateHttp in the config file and restart.`,
    },
  );
}

function bracketed(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}
