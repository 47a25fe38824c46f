import type { Page, PageRequest, StreamInfo } from '../../core/model.ts';
import type { ShapeContext } from './shape.ts';
export async function discoverStreams(
  _: ShapeContext,
  __: PageRequest & { readonly search?: string },
): Promise<Page<StreamInfo>> {
  throw new Error('not yet');
}
