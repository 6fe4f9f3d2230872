-- Versions before this one cannot seal what is deflated: their sealing fails until they have left, and nothing is lost.
COMMENT ON COLUMN request_log_fresh.records IS
    'lines, each ended by a line feed but for the last one; deflated (ddr/store/audit/request_log_form.py)';
