import type { CheckReport, Stream } from '../../core/model.ts';
import type { Settings } from './config.ts';
import type { SessionPool } from './pool.ts';
import type { TypeCache } from './types.ts';
export async function checkSource(
  _: { settings: Settings; pool: SessionPool; types: TypeCache },
  __: readonly Stream[],
  ___: AbortSignal,
): Promise<CheckReport> {
  throw new Error('not yet');
}
