import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';

/** So many seconds' worth may come at once. */
const burstSeconds = 5;

/** Counts requests by key; null while they are within the rate, else after how many seconds the next one is served. */
export function createRate(requestsPerSecond: number): (key: string) => Promise<number | null> {
  const limiter = new RateLimiterMemory({ points: requestsPerSecond * burstSeconds, duration: burstSeconds });
  return async (key) => {
    try {
      await limiter.consume(key);
      return null;
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      return Math.max(1, Math.ceil(refused.msBeforeNext / 1000));
    }
  };
}
