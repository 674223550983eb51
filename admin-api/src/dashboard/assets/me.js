// Who the admin API takes the person before the page for.

import { Unreachable, get } from "./api.js";

/** Name, role, deployment, and whether this admin API leads. A role of null: no token is asked for. */
export async function whoami() {
  const me = await get("v1/whoami");
  if (!me.deployment) throw new Unreachable("the admin API is starting");
  return { ...me, role: me.role ?? null };
}
