import { serverKinds } from '../support/databases.ts';
import { expectations } from './connector-expectations.ts';
import { restExpectations } from './connector-expectations-rest.ts';
import { restSubject } from './connector-subject-rest.ts';
import { sqlSubject } from './connector-subject-sql.ts';
import { connectorSuite } from './connector-suite.ts';

/** Every connector type answers the same questions the same way. Another SQL server is an entry of `dialects`. */
for (const kind of serverKinds) connectorSuite(sqlSubject(kind, expectations[kind]));
connectorSuite(restSubject(restExpectations));
