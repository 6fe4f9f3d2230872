"""The proof of a patient's consents as it is stored."""

from __future__ import annotations

from uuid import UUID

import asyncpg


async def records(pool: asyncpg.Pool, patient_id: UUID) -> list[asyncpg.Record]:
    """The proof, oldest first, each with the text that was shown (null before texts were kept)."""
    rows: list[asyncpg.Record] = await pool.fetch(
        """
        SELECT r.record_no, r.at_ms, r.act, r.consent_no, r.pairing_id, r.client_id, r.miv_url, r.until_ms, r.language,
               r.ended_by, r.reason, r.role, r.representation_id, r.text_sha256, t.version, t.content
          FROM consent_record r LEFT JOIN consent_text t USING (text_sha256)
         WHERE r.patient_id = $1 ORDER BY r.record_no
        """,
        patient_id,
    )
    return rows
